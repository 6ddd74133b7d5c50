import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { credentialSchema, readCredential } from "../../../src/config/credential.ts";
import { failureOf } from "../vault/support.ts";

let baseDir = "";
beforeAll(async () => {
  baseDir = await mkdtemp(join(tmpdir(), "sidekey-credential-"));
});
afterAll(() => rm(baseDir, { recursive: true, force: true }));

describe("credentialSchema", () => {
  it("takes a file or a variable", () => {
    expect(credentialSchema.parse({ file: "token" })).toEqual({ file: "token" });
    expect(credentialSchema.parse({ env: "TOKEN_1" })).toEqual({ env: "TOKEN_1" });
  });

  it.each([
    {},
    { file: "a", env: "B" },
    { file: "" },
    { env: "" },
    { env: "1A" },
    { env: "A-B" },
    { file: 1 },
    { value: "canary" },
    { file: "a", mode: 1 },
    "canary-4711",
    null,
    ["a"],
  ])("refuses %j without repeating it", (value) => {
    const { error } = credentialSchema.safeParse(value);
    expect(error?.issues).toHaveLength(1);
    expect(JSON.stringify(error?.issues)).not.toContain("canary");
  });
});

describe("readCredential", () => {
  it("reads a file beside the configuration, one line end cut", async () => {
    for (const [content, expected] of [
      ["token", "token"],
      ["token\n", "token"],
      ["token\r\n", "token"],
      ["token\n\n", "token\n"],
      [" token ", " token "],
    ] as const) {
      await writeFile(join(baseDir, "token"), content);
      expect(readCredential({ file: "token" }, { baseDir, environment: {} })).toBe(expected);
      expect(readCredential({ file: join(baseDir, "token") }, { baseDir: "/", environment: {} })).toBe(expected);
    }
  });

  it("reads a variable as it is", () => {
    expect(readCredential({ env: "TOKEN" }, { baseDir, environment: { TOKEN: "a\n" } })).toBe("a\n");
  });

  it("names what is missing, empty or unreadable, and shows no value", async () => {
    await writeFile(join(baseDir, "empty"), "\n");
    await symlink("loop", join(baseDir, "loop"));
    const environment = { EMPTY: "", OTHER: "canary-4711" };
    const cases = [
      [{ file: "absent" }, join(baseDir, "absent"), "ENOENT"],
      [{ file: "." }, baseDir, "EISDIR"],
      [{ file: "loop" }, join(baseDir, "loop"), "ELOOP"],
      [{ file: "empty" }, join(baseDir, "empty"), "empty"],
      [{ env: "ABSENT" }, "ABSENT", "missing"],
      [{ env: "EMPTY" }, "EMPTY", "empty"],
      [{ env: "constructor" }, "constructor", "missing"],
    ] as const;
    for (const [credential, name, why] of cases) {
      const error = await failureOf(() => readCredential(credential, { baseDir, environment }));
      expect(error.code).toBe("CONFIG_INVALID");
      expect(error.message).toContain(name);
      expect(error.message).toContain(why);
      expect(inspect(error, { depth: 10 })).not.toContain("canary");
    }
  });
});
