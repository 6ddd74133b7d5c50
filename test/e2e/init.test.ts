/** Transcripts of `sidekey init`: a first run, the keys of a `.env` file, and what it does when something is there. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NO_FILE_HINT } from "../../src/cli/first-steps.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { cleanEnvironment, finished, launch, MAIN } from "../support/program.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const OPENAI = "sk-proj-canary-7Jd0aPq9Zr4Lw2Xs";
const GITHUB = "ghp_canary0pQr5tUv9xYz3aBc7dEf1gHi4jK";
const OTHER = "postgres://u:canary-db-91@h/db";
const ENV = `# keys of this project
OPENAI_API_KEY=${OPENAI}
export GH_TOKEN='${GITHUB}' # gh
DATABASE_URL=${OTHER}
TAVILY_API_KEY=
`;
const CANARIES = [OPENAI, GITHUB, "canary-db-91"];

const noPython =
  process.env["SIDEKEY_TEST_ALL"] !== "1" && spawnSync("python3", ["--version"], { stdio: "ignore" }).status !== 0;

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

const read = (name: string): string => readFileSync(work.at(name), "utf8");
const filesWith = (text: string): readonly string[] =>
  readdirSync(work.path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => readFileSync(path).includes(text))
    .map((path) => path.slice(work.path.length + 1));

/** Runs `init` and searches what it says for the values. */
const init = async (args: readonly string[] = [], environment: Readonly<Record<string, string>> = {}) => {
  const result = await work.sidekey(["init", ...args], { environment });
  for (const canary of CANARIES) expect(result.stdout + result.stderr).not.toContain(canary);
  return result;
};

describe("after a run that was killed", () => {
  it("removes the draft of the .env file, which holds what that holds, the second time as well", async () => {
    work.write(".env", ENV);
    const draft = ".env.0b8f0c1e-3c4d-4e5f-8a9b-0c1d2e3f4a5b";
    for (let run = 1; run <= 2; run += 1) {
      work.write(draft, ENV);
      utimesSync(work.at(draft), 1_000, 1_000);
      expect((await init(["--from", ".env"])).code).toBe(0);
      expect(filesWith("canary-db-91")).toEqual([".env"]);
    }
  });
});

describe("a first run without a file", () => {
  it.each([
    [["check"]],
    [["run", "--", "true"]],
    [["start"]],
    [["explain", "GET", "https://x.test/"]],
    [["env"]],
    [["test"]],
  ])("%j says what to type", async (args) => {
    const { code, stdout, stderr } = await work.sidekey(args);
    expect({ code, stdout }).toEqual({ code: args[0] === "run" ? 125 : 2, stdout: "" });
    expect(stderr).toBe(
      "sidekey: CONFIG_UNREADABLE: The configuration file cannot be read. " +
        `There is no sidekey.yaml in ${work.path}.\nhint: ${NO_FILE_HINT}\n`,
    );
    expect(stderr).toContain("\n    sidekey init\n");
    expect(stderr).toContain("sidekey init --from .env");
  });
});

describe("init", () => {
  it("writes a file and makes the vault, and what it says to type next works", async () => {
    expect(await init()).toEqual({
      code: 0,
      stdout: `wrote sidekey.yaml
the vault's key is .sidekey/vault.key: without it nobody can read what is stored, so keep a copy

Next:
  printf %s "$OPENAI_API_KEY" | sidekey secret set production/openai/api-key --host api.openai.com
  sidekey check
  sidekey run -- python agent.py
`,
      stderr: "",
    });
    expect(statSync(work.at("sidekey.yaml")).mode & 0o777).toBe(0o644);
    expect(statSync(work.at(".sidekey")).mode & 0o777).toBe(0o700);
    expect(statSync(work.at(".sidekey/vault.key")).mode & 0o777).toBe(0o600);
    const set = ["secret", "set", "production/openai/api-key", "--host", "api.openai.com"];
    expect(await work.sidekey(set, { input: OPENAI })).toMatchObject({ code: 0, stderr: "" });
    expect(await work.sidekey(["check"])).toMatchObject({ code: 0, stderr: "" });
    const { code, stdout } = await work.sidekey(["run", "--", "sh", "-c", "echo $OPENAI_API_KEY"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^sk-proj-sidekey-placeholder-\w+\n$/);
  });

  it("changes nothing the second time", async () => {
    await init();
    const before = read(".sidekey/vault.key");
    const { code, stdout, stderr } = await init();
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("sidekey.yaml is there already\n");
    expect(read(".sidekey/vault.key")).toBe(before);
  });

  it("leaves a file that says something else, and says what to do", async () => {
    work.write("sidekey.yaml", "version: 1\n");
    const { code, stdout, stderr } = await init();
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`${work.at("sidekey.yaml")} is there already; nothing was changed.\nhint: See whether`);
    expect(stderr).toContain(`mv ${work.at("sidekey.yaml")} ${work.at("sidekey.yaml")}.old`);
    expect(readdirSync(work.path)).toEqual(["sidekey.yaml"]);
    expect(read("sidekey.yaml")).toBe("version: 1\n");
  });

  it.each([
    ["-c", ["-c", "conf/own.yaml"], {}],
    ["SIDEKEY_CONFIG", [], { SIDEKEY_CONFIG: "conf/own.yaml" }],
  ])("writes where %s says, with the state beside it", async (_, args, environment) => {
    await init([...args, "--json"], environment);
    expect(existsSync(work.at("conf"))).toBe(false);
    mkdirSync(work.at("conf"));
    const { code, stdout } = await init([...args, "--json"], environment);
    expect({ code, json: JSON.parse(stdout) }).toEqual({
      code: 0,
      json: { file: work.at("conf/own.yaml"), written: true },
    });
    expect(existsSync(work.at("conf/.sidekey/vault"))).toBe(true);
  });

  it("takes its file back when the vault cannot be made", async () => {
    const { code, stderr } = await init([], { FERNET_SECRET_KEY: "not a key" });
    expect(code).toBe(1);
    expect(stderr).toContain("sidekey: VAULT_KEY_UNREADABLE:");
    expect(existsSync(work.at("sidekey.yaml"))).toBe(false);
  });

  it("does not work inside a run, and takes --keep with a file alone", async () => {
    expect((await init([], { SIDEKEY_RUN: "x" })).stderr).toContain("does not work inside 'sidekey run'");
    const { code, stderr } = await init(["--keep"]);
    expect(code).toBe(2);
    expect(stderr).toContain("hint: Name it: sidekey init --from .env --keep\n");
    expect(readdirSync(work.path)).toEqual([]);
  });
});

describe("init --from", () => {
  beforeEach(() => {
    work.write(".env", ENV);
    chmodSync(work.at(".env"), 0o600);
  });

  it("takes the keys, leaves placeholders, and no other copy of a key anywhere", async () => {
    const { code, stdout, stderr } = await init(["--from", ".env"]);
    expect(code).toBe(0);
    expect(stdout).toBe(`IN .env         FOR         GOES TO
GH_TOKEN        GitHub API  production/github/gh-token
OPENAI_API_KEY  OpenAI      production/openai/api-key
wrote sidekey.yaml: github, openai
stored production/github/gh-token version 1 (new)
stored production/openai/api-key version 1 (new)
.env has placeholders in their place
the vault's key is .sidekey/vault.key: without it nobody can read what is stored, so keep a copy

Next:
  sidekey check
  sidekey explain GET https://api.github.com/
  sidekey run -- python agent.py
`);
    expect(stderr).toMatch(
      /^sidekey: left alone: DATABASE_URL \(line 4\) is known to no preset\nsidekey: left alone: TAVILY_API_KEY \(line 5\) is empty\nsidekey: no backup was made\. [^\n]*\n$/,
    );
    expect(read(".env")).toMatch(
      /^# keys of this project\nOPENAI_API_KEY=sk-proj-sidekey-placeholder-\w{32}\nexport GH_TOKEN=ghp_SidekeyPlaceholder\w{18} # gh\nDATABASE_URL=.*\nTAVILY_API_KEY=\n$/,
    );
    expect(statSync(work.at(".env")).mode & 0o777).toBe(0o600);
    expect(readdirSync(work.path).sort()).toEqual([".env", ".sidekey", "sidekey.yaml"]);
    for (const canary of [OPENAI, GITHUB]) expect(filesWith(canary)).toEqual([]);
    expect(await work.sidekey(["secret", "get", "production/openai/api-key", "--reveal"])).toMatchObject({
      stdout: `${OPENAI}\n`,
    });
    const { stdout: list } = await work.sidekey(["secret", "list", "--json"]);
    expect(list).toContain('"hosts":["api.openai.com"]');
    const { stdout: audit } = await work.sidekey(["audit", "search", "--json"]);
    expect(audit).toContain("local:production/openai/api-key");
  });

  it("writes the placeholders that 'run' sets", async () => {
    await init(["--from", ".env"]);
    const script = '. ./.env; echo "$OPENAI_API_KEY $GH_TOKEN"';
    const { stdout: own } = await work.sidekey(["run", "--", "sh", "-c", 'echo "$OPENAI_API_KEY $GH_TOKEN"']);
    expect(own).toMatch(/^sk-proj-\S+ ghp_\S+\n$/);
    expect((await work.sidekey(["run", "--", "sh", "-c", script])).stdout).toBe(own);
  });

  it("changes nothing the second time, and says so", async () => {
    await init(["--from", ".env"]);
    const [env, file] = [read(".env"), read("sidekey.yaml")];
    expect(await init(["--from", ".env"])).toEqual({
      code: 0,
      stdout: "",
      stderr: "sidekey: nothing to do: OPENAI_API_KEY, GH_TOKEN of .env are placeholders already\n",
    });
    expect([read(".env"), read("sidekey.yaml")]).toEqual([env, file]);
    expect((await work.sidekey(["secret", "history", "production/openai/api-key"])).stdout).not.toContain("2  ");
  });

  it("leaves the values with --keep, says so, and goes on from there without", async () => {
    const kept = await init(["--from", ".env", "--keep"]);
    expect(kept.stderr).toContain("sidekey: .env still holds the keys, and whoever can read it has them\n");
    expect(read(".env")).toBe(ENV);
    // As after a run that was killed before it came to the .env file.
    const { code, stdout } = await init(["--from", ".env"]);
    expect(code).toBe(0);
    expect(stdout).toContain("left as it was: sidekey.yaml: github, openai\n");
    expect(stdout).toContain("stored production/openai/api-key version 1 (same)\n");
    expect(read(".env")).not.toContain(OPENAI);
  });

  it("goes on after a run that was killed before it came to the vault", async () => {
    await init(["--from", ".env", "--keep"]);
    rmSync(work.at(".sidekey"), { recursive: true });
    const { code, stdout } = await init(["--from", ".env"]);
    expect(code).toBe(0);
    expect(stdout).toContain("stored production/openai/api-key version 1 (new)\n");
    expect(read(".env")).not.toContain(OPENAI);
  });

  it("leaves everything where a file says something else, with the lines and the command to add", async () => {
    work.write("sidekey.yaml", "version: 1\nroutes:\n  api.example.test: production/x/key\n");
    work.write(".env", `${ENV}TWILIO_ACCOUNT_SID=AC1\nTWILIO_AUTH_TOKEN=0123456789abcdef0123456789abcdef\n`);
    const before = read(".env");
    const { code, stdout, stderr } = await init(["--from", ".env"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("is there already; nothing was changed.\nhint: Add to its routes");
    const routes = stderr.match(/^ {2}\w+: \{ preset: .*$/gm) ?? [];
    expect(routes).toHaveLength(2);
    expect(stderr).toContain("(Twilio: its secret is made of several variables, see docs/presets.md)");
    expect(read(".env")).toBe(before);
    expect(existsSync(work.at(".sidekey"))).toBe(false);
    // What it says to do, done.
    work.write("sidekey.yaml", `${read("sidekey.yaml")}${routes.join("\n")}\n`);
    const [, command = ""] = /^ {2}sidekey (secret import .*)$/m.exec(stderr) ?? [];
    expect((await work.sidekey(command.split(" "))).code).toBe(0);
    expect(await work.sidekey(["check"])).toMatchObject({ code: 0, stderr: "" });
    const explained = await work.sidekey(["explain", "GET", "https://api.openai.com/v1/models"]);
    expect(explained.stdout).toContain("preset    openai\n");
    expect(explained.stdout).toContain("local:production/OPENAI_API_KEY");
    const { stdout: list } = await work.sidekey(["secret", "list"]);
    expect(list).toContain("production/OPENAI_API_KEY");
  });

  it("names lines that hold a key all the same", async () => {
    work.write(".env", `OPENAI_API_KEY=${OPENAI}\n# was ${OPENAI}\n`);
    const { stderr } = await init(["--from", ".env"]);
    expect(stderr).toContain("sidekey: .env:2 still holds one of the keys: remove it by hand\n");
  });

  it("replaces what a symbolic link leads to", async () => {
    work.write("shared.env", ENV);
    rmSync(work.at(".env"));
    symlinkSync("shared.env", work.at(".env"));
    expect((await init(["--from", ".env"])).code).toBe(0);
    expect(read("shared.env")).not.toContain(OPENAI);
  });

  it("prints JSON, with names and places alone", async () => {
    const { code, stdout } = await init(["--from", ".env", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      file: work.at("sidekey.yaml"),
      written: true,
      found: [
        { variables: ["GH_TOKEN"], preset: "github", secret: "production/github/gh-token", version: 1 },
        { variables: ["OPENAI_API_KEY"], preset: "openai", secret: "production/openai/api-key", version: 1 },
      ],
      done: [],
      left: [
        { name: "DATABASE_URL", line: 4, reason: "is known to no preset" },
        { name: "TAVILY_API_KEY", line: 5, reason: "is empty" },
      ],
      replaced: true,
    });
  });

  it.each([
    ["a file that is not there", "none.env", "", 2, /none\.env cannot be read \(ENOENT\)/],
    [
      "no key",
      "no.env",
      "LOG_LEVEL=debug\n",
      2,
      /LOG_LEVEL \(line 1\) is known to no preset\n.*no key that Sidekey knows/,
    ],
    [
      "a line that cannot be read",
      "bad.env",
      `OPENAI_API_KEY="${OPENAI}\n`,
      2,
      /VAULT_BAD_IMPORT:[\s\S]*line 1 has no closing/,
    ],
    ["a line that is none", "bad.env", `OPENAI_API_KEY=${OPENAI}\nwhat is ${OPENAI}\n`, 2, /line 2 is not NAME=VALUE/],
    ["a directory", ".", "", 2, /cannot be read \(EISDIR\)/],
  ])("refuses %s, and changes nothing", async (_, name, text, code, words) => {
    if (text !== "") work.write(name, text);
    const before = readdirSync(work.path).sort();
    const result = await init(["--from", name]);
    expect({ code: result.code, stdout: result.stdout }).toEqual({ code, stdout: "" });
    expect(result.stderr).toMatch(words);
    expect(readdirSync(work.path).sort()).toEqual(before);
    if (text !== "") expect(read(name)).toBe(text);
  });

  it("refuses a pipe whose content it could not replace, and takes it with --keep", async () => {
    execFileSync("mkfifo", [work.at("pipe")]);
    const fed = async (args: readonly string[]) => {
      const feeder = spawn("sh", ["-c", "exec cat .env > pipe"], { cwd: work.path, stdio: "ignore" });
      const result = await init(args);
      feeder.kill("SIGKILL");
      return result;
    };
    const refused = await fed(["--from", "pipe"]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("is not a regular file, so its values cannot be replaced; nothing was changed.");
    expect(existsSync(work.at("sidekey.yaml"))).toBe(false);
    expect((await fed(["--from", "pipe", "--keep"])).code).toBe(0);
  });
});

describe("however init --from is stopped", () => {
  it("the key is in one of the two places, and the same command ends it", async () => {
    const stored = async (): Promise<boolean> => {
      const { stdout } = await work.sidekey(["secret", "get", "production/openai/api-key", "--reveal"]);
      return stdout === `${OPENAI}\n`;
    };
    // Whatever it has come to when it is killed: the test holds at any moment.
    for (const delay of [80, 160, 240, 320]) {
      rmSync(work.at(".sidekey"), { recursive: true, force: true });
      rmSync(work.at("sidekey.yaml"), { force: true });
      work.write(".env", ENV);
      const child = launch(["init", "--from", ".env"], { cwd: work.path });
      const end = finished(child);
      await pause(delay);
      child.kill("SIGKILL");
      await end;
      expect(read(".env").includes(OPENAI) || (await stored()), `killed after ${delay} ms`).toBe(true);
      const again = await init(["--from", ".env"]);
      expect({ code: again.code, text: again.code === 0 ? "" : again.stderr }).toEqual({ code: 0, text: "" });
      expect(read(".env")).not.toContain(OPENAI);
      expect(await stored()).toBe(true);
      expect((await work.sidekey(["check"])).code).toBe(0);
      expect(filesWith(OPENAI)).toEqual([]);
    }
  });
});

describe.skipIf(noPython)(`init --from on a terminal${noPython ? " (skipped: no python3 here)" : ""}`, () => {
  const TERMINAL = new URL("../support/terminal.py", import.meta.url).pathname;
  const answered = async (keys: string, shown: string) => {
    work.write(".env", ENV);
    const steps = [
      ["bash-[\\d.]+[#$] $", `'${process.execPath}' '${MAIN}' init --from .env\n`],
      ["and put placeholders into \\.env\\? \\[Y/n\\] ", keys],
      [shown, ""],
    ];
    const env = { ...cleanEnvironment(), TERM: "dumb" };
    return finished(spawn("python3", [TERMINAL, JSON.stringify(steps)], { cwd: work.path, env }));
  };

  it("asks first, and a no changes nothing", async () => {
    expect(await answered("n\n", "sidekey: nothing was changed\r?\n")).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(read(".env")).toBe(ENV);
    expect(readdirSync(work.path)).toEqual([".env"]);
  });

  it("goes on at Enter", async () => {
    expect(await answered("\n", "sidekey run -- ")).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(read(".env")).not.toContain(OPENAI);
  });
});

describe("from a .env file to a call", () => {
  let upstream: TestUpstream;
  afterEach(() => upstream.close());

  it("takes one command, and the program is as it was", async () => {
    const authority = await createTestAuthority();
    upstream = await startUpstream({ tls: await authority.issue({ names: ["api.openai.com"] }) });
    work.write(".env", ENV);
    await init(["--from", ".env"]);
    work.write("ca.pem", authority.certificatePem);
    // Only because this upstream is not on the internet.
    work.write(
      "sidekey.yaml",
      `${read("sidekey.yaml")}upstream: { ca: ./ca.pem, connect: { "api.openai.com:443": "${upstream.address}" } }\n`,
    );
    const program = `
      const key = require("node:fs").readFileSync(".env", "utf8").match(/OPENAI_API_KEY=(.*)/)[1];
      fetch("https://api.openai.com/v1/models", { headers: { authorization: "Bearer " + key } })
        .then((response) => console.log(response.status));`;
    work.write("agent.cjs", program);
    const { code, stdout } = await work.sidekey(["run", "--", process.execPath, "agent.cjs"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "200\n" });
    expect(upstream.requests.map((one) => one.header("authorization"))).toEqual([[`Bearer ${OPENAI}`]]);
  });
});
