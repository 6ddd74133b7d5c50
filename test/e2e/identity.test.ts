/** Transcripts of `sidekey identity`. */
import { chmodSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

describe("identity", () => {
  it("prints one thumbprint, and the same ever after", async () => {
    const first = await work.sidekey(["identity"]);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toMatch(/^[\w-]{43}\n$/);
    expect(statSync(work.at(".sidekey/identity.key")).mode & 0o777).toBe(0o600);
    expect(await work.sidekey(["identity"])).toEqual(first);
  });

  it("prints the public key with --json, and what is printed takes a token's --jkt", async () => {
    const { stdout } = await work.sidekey(["identity", "--json"]);
    const answer = JSON.parse(stdout);
    expect(answer.path).toBe(work.at(".sidekey/identity.key"));
    expect(Object.keys(answer.jwk).sort()).toEqual(["crv", "kty", "x", "y"]);
    const scope = ["--scope", "secrets:use:production/*"];
    const token = await work.sidekey(["token", "issue", ...scope, "--jkt", answer.thumbprint, "--json"]);
    expect(token).toMatchObject({ code: 0, stderr: "" });
  });

  it("is of the file's state directory", async () => {
    work.write("other.yaml", "version: 1\nstate: ./elsewhere\n");
    const other = await work.sidekey(["identity", "-c", "other.yaml"]);
    expect(other.stdout).not.toBe((await work.sidekey(["identity"])).stdout);
    expect(statSync(work.at("elsewhere/identity.key")).isFile()).toBe(true);
  });

  it("refuses a key that others could read, and says what to do", async () => {
    await work.sidekey(["identity"]);
    chmodSync(work.at(".sidekey/identity.key"), 0o644);
    const { code, stdout, stderr } = await work.sidekey(["identity"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^sidekey: IDENTITY_KEY_UNREADABLE: .*mode 644.*\nhint: .*chmod 600/);
  });
});
