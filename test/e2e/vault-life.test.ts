/** Transcripts of a secret's and a token's later life: history, rotation, listing, revocation, and what is on record of it. */
import { existsSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const CANARY = "sk-canary-5e0b7713aa";
const PATH = "production/x/key";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

const records = (type: string): Record<string, unknown>[] =>
  readFileSync(work.at(".sidekey/audit-operator.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .filter((record) => record.type === type);

describe("secret rotate", () => {
  it("gives a new value and keeps the old one readable by its number for the grace only", async () => {
    await work.sidekey(["secret", "set", PATH], { input: `${CANARY}-1` });
    const rotated = await work.sidekey(["secret", "rotate", PATH, "--grace", "1h"], { input: `${CANARY}-2` });
    expect(rotated).toMatchObject({ code: 0, stderr: "" });
    expect(rotated.stdout).toMatch(/^rotated production\/x\/key to version 2; older versions stay readable .* until /);
    expect((await work.sidekey(["secret", "get", PATH, "--reveal"])).stdout).toBe(`${CANARY}-2\n`);
    expect((await work.sidekey(["secret", "get", PATH, "--reveal", "--version", "1"])).stdout).toBe(`${CANARY}-1\n`);

    const closing = await work.sidekey(["secret", "rotate", PATH, "--json"], { input: `${CANARY}-3` });
    expect(JSON.parse(closing.stdout)).toMatchObject({ path: PATH, version: 3 });
    for (const version of ["1", "2"]) {
      const old = await work.sidekey(["secret", "get", PATH, "--reveal", "--version", version]);
      expect(old).toMatchObject({ code: 1, stdout: "" });
      expect(old.stderr).toContain("was closed by a rotation at ");
    }
  });

  it.each([
    ["a secret that is not there", [PATH], CANARY, 1, "VAULT_SECRET_MISSING"],
    ["a grace that is none", [PATH, "--grace", "soon"], CANARY, 2, "CONFIG_USAGE"],
    ["a value as an argument", [PATH, CANARY], CANARY, 2, "CONFIG_USAGE"],
    ["a path that is none", ["x"], CANARY, 2, "VAULT_BAD_PATH"],
  ])("refuses %s, and shows no value", async (_, args, input, code, name) => {
    const result = await work.sidekey(["secret", "rotate", ...args], { input });
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toContain(`sidekey: ${name}: `);
    expect(result.stderr).not.toContain(CANARY);
    expect(existsSync(work.at(".sidekey"))).toBe(false);
  });
});

describe("secret history", () => {
  it("says when and by whom, never what", async () => {
    await work.sidekey(["secret", "set", PATH], { input: `${CANARY}-1` });
    await work.sidekey(["secret", "rotate", PATH], { input: `${CANARY}-2` });
    const shown = await work.sidekey(["secret", "history", PATH]);
    expect(shown).toMatchObject({ code: 0, stderr: "" });
    expect(shown.stdout).toMatch(
      /^VERSION +WRITTEN +BY +READABLE\n2 +20\S+Z +\S.* yes\n1 +20\S+Z +\S.* until 20\S+Z\n$/,
    );
    const [second, first] = JSON.parse((await work.sidekey(["secret", "history", PATH, "--json"])).stdout);
    expect(second).toEqual({ version: 2, created_at: expect.any(String), by: expect.any(String) });
    expect(first.readable_until).toEqual(expect.any(String));
    expect(shown.stdout).not.toContain(CANARY);
  });
});

describe("what an operator changed", () => {
  it("is on record before and after, without a value, in a log that verifies", async () => {
    await work.sidekey(["secret", "set", PATH], { input: `${CANARY}-1` });
    await work.sidekey(["secret", "rotate", PATH], { input: `${CANARY}-2` });
    await work.sidekey(["secret", "rotate", "production/none/key"], { input: `${CANARY}-2` });
    await work.sidekey(["secret", "rm", PATH]);
    expect(
      records("secret").map(({ secret, version, reason, outcome, code }) => [
        secret,
        version,
        String(reason).split(" ")[0],
        outcome,
        code,
      ]),
    ).toEqual([
      [`local:${PATH}`, undefined, "set", undefined, undefined],
      [`local:${PATH}`, "1", "set", "ok", undefined],
      [`local:${PATH}`, undefined, "rotate", undefined, undefined],
      [`local:${PATH}`, "2", "rotate", "ok", undefined],
      ["local:production/none/key", undefined, "rotate", undefined, undefined],
      ["local:production/none/key", undefined, "rotate", "refused", "VAULT_SECRET_MISSING"],
      [`local:${PATH}`, undefined, "rm", undefined, undefined],
      [`local:${PATH}`, undefined, "rm", "ok", undefined],
    ]);
    expect(readFileSync(work.at(".sidekey/audit-operator.jsonl"), "utf8")).not.toContain(CANARY);
    const verified = await work.sidekey(["audit", "verify"]);
    expect(verified.code).toBe(0);
    expect(verified.stdout).toContain("audit-operator.jsonl: intact");
  });

  it("does not happen when it cannot be recorded", async () => {
    await work.sidekey(["secret", "set", PATH], { input: CANARY });
    work.write(".sidekey/audit.key", "no key");
    const refused = await work.sidekey(["secret", "rm", PATH]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("AUDIT_KEY_UNREADABLE");
    expect((await work.sidekey(["secret", "get", PATH, "--reveal"])).stdout).toBe(`${CANARY}\n`);
  });

  it("waits its turn when many commands change something at once", async () => {
    const all = Array.from({ length: 6 }, (_, n) =>
      work.sidekey(["secret", "set", `production/x/key-${n}`], { input: CANARY }),
    );
    for (const { code, stderr } of await Promise.all(all)) expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(records("secret")).toHaveLength(12);
    expect((await work.sidekey(["audit", "verify"])).code).toBe(0);
  });
});

describe("token list and revoke", () => {
  const issue = async (): Promise<{ token: string; id: string }> =>
    JSON.parse((await work.sidekey(["token", "issue", "--scope", "secrets:use:a/*", "--json"])).stdout);

  it("lists what was issued, and revokes by id or by the token on standard input", async () => {
    const one = await issue();
    const two = await issue();
    const listed = await work.sidekey(["token", "list"]);
    expect(listed.stdout).toMatch(/^ID +AGENT +STATE +EXPIRES +SCOPE\n/);
    expect(listed.stdout).not.toContain(one.token);
    expect((await work.sidekey(["token", "revoke", one.id])).stdout).toBe(`revoked ${one.id}\n`);
    expect((await work.sidekey(["token", "revoke"], { input: `${two.token}\n` })).stdout).toBe(`revoked ${two.id}\n`);
    const states = JSON.parse((await work.sidekey(["token", "list", "--json"])).stdout);
    // Issued within one second they have no order of their own.
    const revokedAs = { state: "revoked", revoked_at: expect.any(String) };
    expect(states).toHaveLength(2);
    for (const { id } of [one, two]) expect(states).toContainEqual(expect.objectContaining({ id, ...revokedAs }));
    expect((await work.sidekey(["token", "inspect"], { input: one.token })).code).toBe(1);
    expect(records("token").filter(({ outcome }) => outcome === "ok")).toHaveLength(4);
    expect(readFileSync(work.at(".sidekey/audit-operator.jsonl"), "utf8")).not.toContain(two.token);
  });

  it("refuses an id that it does not know, a token as an argument, and nothing at all", async () => {
    const { token } = await issue();
    const unknown = await work.sidekey(["token", "revoke", "00000000-0000-4000-8000-000000000000"]);
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toContain("IDENTITY_TOKEN_INVALID");
    const shown = await work.sidekey(["token", "revoke", token]);
    expect(shown.code).toBe(2);
    expect(shown.stderr).not.toContain(token);
    expect((await work.sidekey(["token", "revoke"], { input: "" })).code).toBe(2);
    expect(JSON.parse((await work.sidekey(["token", "list", "--json"])).stdout)).toMatchObject([{ state: "active" }]);
  });

  it("makes no vault where there is none", async () => {
    expect((await work.sidekey(["token", "list"])).code).toBe(0);
    expect((await work.sidekey(["token", "revoke", "00000000-0000-4000-8000-000000000000"])).code).toBe(1);
    expect(existsSync(work.at(".sidekey"))).toBe(false);
  });
});
