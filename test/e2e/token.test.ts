/** Transcripts of `sidekey token`. */
import { readdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

const issue = (...args: string[]) => work.sidekey(["token", "issue", ...args]);
const SCOPE = ["--scope", "secrets:use:production/*"];

describe("token issue", () => {
  it("prints the token alone", async () => {
    const { code, stdout, stderr } = await issue(...SCOPE);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  });

  it("prints what it says with --json", async () => {
    const limits = ["--ttl", "30m", "--max-uses", "5", "--ip", "10.0.0.0/8", "--reads", "placeholder", "--agent", "a1"];
    const { stdout } = await issue(...SCOPE, "--scope", "secrets:read:a/b", "--json", ...limits);
    const answer = JSON.parse(stdout);
    expect(answer).toMatchObject({
      agent: "a1",
      scope: "secrets:use:production/* secrets:read:a/b",
      max_uses: 5,
      ip: "10.0.0.0/8",
      reads: "placeholder",
    });
    expect(Date.parse(answer.expires_at) - Date.parse(answer.issued_at)).toBe(30 * 60 * 1000);
  });

  it("names the file's agent when none is given", async () => {
    work.write("sidekey.yaml", "version: 1\nagent: researcher\n");
    expect(JSON.parse((await issue(...SCOPE, "--json")).stdout)).toMatchObject({ agent: "researcher" });
  });

  it.each([
    [[], "CONFIG_USAGE", "--scope"],
    [["--scope", "everything"], "IDENTITY_BAD_SCOPE", "secrets:ACTION:GLOB"],
    [["--scope", "secrets:use:../x"], "IDENTITY_BAD_SCOPE", ""],
    [[...SCOPE, "--ttl", "soon"], "CONFIG_USAGE", "--ttl takes a duration"],
    [[...SCOPE, "--ttl", "2d"], "CONFIG_USAGE", "24 hours"],
    [[...SCOPE, "--ttl", "1ms"], "CONFIG_USAGE", "1 second"],
    [[...SCOPE, "--max-uses", "0"], "CONFIG_USAGE", "--max-uses"],
    [[...SCOPE, "--max-uses", "1e3"], "CONFIG_USAGE", "--max-uses"],
    [[...SCOPE, "--ip", "anywhere"], "CONFIG_USAGE", "--ip takes a CIDR"],
    [[...SCOPE, "--reads", "all"], "CONFIG_USAGE", "value, placeholder"],
    [[...SCOPE, "--jkt", "short"], "CONFIG_USAGE", "--jkt"],
    [[...SCOPE, "--agent", "two words"], "CONFIG_USAGE", "--agent"],
  ])("%j is refused with %s", async (args, code, words) => {
    const result = await issue(...args);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toMatch(new RegExp(`^sidekey: ${code}: [^\\n]*\\nhint: [^\\n]*\\n$`));
    expect(result.stderr).toContain(words);
    expect(readdirSync(work.path)).toEqual([]);
  });
});

describe("token inspect", () => {
  it("reads the token from standard input and says that it is valid", async () => {
    const { stdout: token } = await issue(...SCOPE);
    const { code, stdout, stderr } = await work.sidekey(["token", "inspect"], { input: token });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^id .*\nagent +default\nscope +secrets:use:production\/\*\nissued_at .*\nexpires_at .*\nvalid +yes\n$/,
    );
  });

  it("takes it as an argument or for -, and prints JSON", async () => {
    const token = (await issue(...SCOPE)).stdout.trim();
    const byArgument = await work.sidekey(["token", "inspect", token, "--json"]);
    const byDash = await work.sidekey(["token", "inspect", "-", "--json"], { input: `${token}\n` });
    expect(JSON.parse(byArgument.stdout)).toMatchObject({ valid: true, agent: "default" });
    expect(byDash.stdout).toBe(byArgument.stdout);
  });

  it("shows no claims of a token that another vault signed", async () => {
    const other = createWorkspace();
    try {
      const { stdout: token } = await other.sidekey(["token", "issue", ...SCOPE]);
      await issue(...SCOPE);
      const result = await work.sidekey(["token", "inspect"], { input: token });
      expect(result).toMatchObject({ code: 1, stdout: "" });
      expect(result.stderr).toContain("sidekey: IDENTITY_TOKEN_INVALID: ");
      expect(result.stderr).not.toContain(token.trim());
    } finally {
      other.remove();
    }
  });

  it.each([
    ["", 2, "CONFIG_USAGE"],
    ["not a token", 1, "IDENTITY_TOKEN_INVALID"],
  ])("%j ends with %i", async (input, code, name) => {
    await issue(...SCOPE);
    const result = await work.sidekey(["token", "inspect"], { input });
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toContain(`sidekey: ${name}: `);
  });
});
