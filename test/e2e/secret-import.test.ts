/** Transcripts of `sidekey secret import`. */
import { existsSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const CANARY = "sk-canary-77a0c1d9e4";
const PREFIX = ["--prefix", "production/app"];

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

const importing = (text: string | Buffer, ...more: string[]) =>
  work.sidekey(["secret", "import", "-", ...PREFIX, ...more], { input: text });
const reveal = async (name: string): Promise<string> =>
  (await work.sidekey(["secret", "get", `production/app/${name}`, "--reveal"])).stdout;

const HOSTILE = `
# keys
export OPENAI_API_KEY=${CANARY}
DB_PASSWORD='${CANARY} "q" #1 $& $1 \`x\` \\n'   # of the staging database
EMPTY=
`;

describe("secret import", () => {
  it("stores every key of the file, says names and versions, and that the plain file is still there", async () => {
    work.write(".env", HOSTILE);
    const { code, stdout, stderr } = await work.sidekey(["secret", "import", ".env", ...PREFIX]);
    expect(code).toBe(0);
    expect(stdout).toBe(
      "PATH                           VERSION  CHANGE\n" +
        "production/app/OPENAI_API_KEY  1        new\n" +
        "production/app/DB_PASSWORD     1        new\n",
    );
    expect(stderr).toBe(
      "sidekey: skipped EMPTY (line 5): it is empty\n" +
        "sidekey: .env still holds these values in plain text. When nothing reads it any more: rm .env\n" +
        "sidekey: a copy in git, a backup or a chat stays: give such keys a new value ('sidekey secret rotate')\n",
    );
    expect(await reveal("OPENAI_API_KEY")).toBe(`${CANARY}\n`);
    expect(await reveal("DB_PASSWORD")).toBe(`${CANARY} "q" #1 $& $1 \`x\` \\n\n`);
    expect(readFileSync(work.at(".env"), "utf8")).toBe(HOSTILE);
  });

  it("adds a version where a value has changed, keeps what it is bound to, and leaves alone what is the same", async () => {
    const old = ["secret", "set", "production/app/OPENAI_API_KEY", "--host", "api.openai.com"];
    await work.sidekey(old, { input: "old" });
    await work.sidekey(["secret", "set", "production/app/B"], { input: "same" });
    const { stdout } = await importing(`OPENAI_API_KEY=${CANARY}\nB=same\nC=${CANARY}\nD=`, "--json");
    expect(JSON.parse(stdout)).toEqual({
      dry_run: false,
      imported: [
        { path: "production/app/OPENAI_API_KEY", version: 2, change: "changed" },
        { path: "production/app/B", version: 1, change: "same" },
        { path: "production/app/C", version: 1, change: "new" },
      ],
      skipped: [{ name: "D", line: 4 }],
    });
    const [, , bound] = JSON.parse((await work.sidekey(["secret", "list", "--json"])).stdout);
    expect(bound).toMatchObject({ path: "production/app/OPENAI_API_KEY", hosts: ["api.openai.com"] });
    const records = readFileSync(work.at(".sidekey/audit-operator.jsonl"), "utf8");
    expect(records).not.toContain(CANARY);
    const done = records
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .filter(({ reason, outcome }) => String(reason).startsWith("import by ") && outcome === "ok");
    expect(done.map(({ secret, version }) => [secret, version])).toEqual([
      ["local:production/app/OPENAI_API_KEY", "2"],
      ["local:production/app/C", "1"],
    ]);
  });

  it("changes nothing in a dry run, and makes no vault for one", async () => {
    const dry = await importing(`A=${CANARY}\n`, "--dry-run");
    expect(dry.stdout).toMatch(/^production\/app\/A +1 +new$/m);
    expect(dry.stderr).toBe("sidekey: nothing was stored: this was a dry run\n");
    expect(existsSync(work.at(".sidekey"))).toBe(false);
    await importing("A=before\n");
    expect((await importing(`A=${CANARY}\n`, "--dry-run")).stdout).toMatch(/^production\/app\/A +2 +changed$/m);
    expect(await reveal("A")).toBe("before\n");
  });

  it("takes only the names that are asked for, and says which are not there", async () => {
    const pem = `PEM="-----BEGIN\n${CANARY}\n-----END"\nA=${CANARY}\nB=x\n`;
    const { code, stdout } = await importing(pem, "--only", "A");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^PATH.*\nproduction\/app\/A .*\n$/);
    const absent = await importing(pem, "--only", "A", "--only", "Z");
    expect(absent).toMatchObject({ code: 2, stdout: "" });
    expect(absent.stderr).toContain("The file has no 'Z'; nothing was stored.");
  });

  it.each([
    ["a line that could be read in two ways", `A=x\nB=${CANARY}#1\n`, "line 2 has a # right behind"],
    ["a key on a line of its own", `${CANARY}\n`, "line 1 is not NAME=VALUE"],
    ["a value of several lines", `A="${CANARY}\n2"\n`, "line 1: the value holds a control character"],
    ["a value over 64 KiB", `A=${CANARY.repeat(4000)}\n`, "line 1: the value is larger than 64 KiB"],
    ["a name that is no part of a path", `A=x\n..=${CANARY}\n`, "line 2: its name cannot be part of a secret's path"],
    ["a NUL", `A=${CANARY}\0\n`, "line 1: the value holds a control character"],
    ["another encoding", Buffer.from(`\ufeffA=${CANARY}`, "utf16le"), "line 1 begins a file in UTF-16"],
  ])("stores nothing at all for %s, and shows none of it", async (_, text, words) => {
    const { code, stdout, stderr } = await importing(text);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^sidekey: VAULT_BAD_IMPORT: [^\n]*\n( {2}line \d[^\n]*\n)+hint: [^\n]*\n$/);
    expect(stderr).toContain(words);
    expect(stderr).not.toContain(CANARY);
    expect(existsSync(work.at(".sidekey"))).toBe(false);
  });

  it.each([
    ["no such file", ["none.env", ...PREFIX], "CONFIG_USAGE"],
    ["a directory", [".", ...PREFIX], "CONFIG_USAGE"],
    ["a prefix that is none", ["-", "--prefix", "a b"], "VAULT_BAD_PATH"],
    ["a prefix that climbs", ["-", "--prefix", "../a"], "VAULT_BAD_PATH"],
    ["no prefix", ["-"], "CONFIG_USAGE"],
    ["no file", PREFIX, "CONFIG_USAGE"],
  ])("refuses %s", async (_, args, name) => {
    const { code, stdout, stderr } = await work.sidekey(["secret", "import", ...args], { input: "A=x\n" });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`sidekey: ${name}: `);
    expect(existsSync(work.at(".sidekey"))).toBe(false);
  });

  it("does not work inside a run", async () => {
    const environment = { SIDEKEY_RUN: "abc" };
    const { code, stderr } = await work.sidekey(["secret", "import", "-", ...PREFIX], { environment, input: "A=x" });
    expect(code).toBe(2);
    expect(stderr).toContain("does not work inside 'sidekey run'");
  });
});
