/** Transcripts of what is the same for every command, and of `check`, `audit` and `ca` before anything has run. */
import { spawnSync } from "node:child_process";
import { chmodSync, closeSync, openSync, readdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FIRST_STEPS } from "../../src/cli/first-steps.ts";
import { cleanEnvironment, MAIN } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const CANARY = "sk-canary-2c7d81ab44";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

const COMMANDS = [
  ["run"],
  ["start"],
  ["check"],
  ["secret", "set"],
  ["secret", "get"],
  ["secret", "list"],
  ["secret", "rm"],
  ["token", "issue"],
  ["token", "inspect"],
  ["audit", "tail"],
  ["audit", "verify"],
  ["ca", "print"],
];

describe("help", () => {
  it("lists every command", async () => {
    const { code, stdout, stderr } = await work.sidekey(["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const [name = ""] of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${name}\\b`, "m"));
  });

  it.each(COMMANDS.map((words) => [words]))("of %j has an example, and no colour in a pipe", async (words) => {
    const { code, stdout, stderr } = await work.sidekey([...words, "--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(`Usage: sidekey ${words.join(" ")}`);
    expect(stdout).toMatch(/\nExamples:\n {2}\S/);
    expect(stdout).not.toContain("\u001b");
  });
});

describe("standard output", () => {
  it.each([["--help"], ["--version"], ["check"], ["env"]])("that cannot be written fails '%s'", (command) => {
    work.write("sidekey.yaml", "version: 1\nroutes: {}\n");
    const full = openSync("/dev/full", "w");
    try {
      const { status } = spawnSync(process.execPath, [MAIN, command], {
        cwd: work.path,
        env: cleanEnvironment(),
        stdio: ["ignore", full, "pipe"],
      });
      expect(status).toBe(1);
    } finally {
      closeSync(full);
    }
  });
});

describe("a command line that is wrong", () => {
  it("is answered with what was meant", async () => {
    const { code, stdout, stderr } = await work.sidekey(["chekc"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toBe(
      "sidekey: CONFIG_USAGE: The command is not used as it should be. Unknown command 'chekc' (Did you mean check?)\n" +
        "hint: Run: sidekey --help\n",
    );
  });
});

describe("a reader that goes away", () => {
  it("is no fault", () => {
    const env = cleanEnvironment();
    const result = spawnSync("sh", ["-c", `"${process.execPath}" "${MAIN}" --help | true`], { env, encoding: "utf8" });
    expect(result.stderr).toBe("");
  });
});

describe("check", () => {
  it("accepts a right file in one line, and in JSON", async () => {
    work.write("sidekey.yaml", "version: 1\nroutes:\n  api.x.test: production/x/key\n");
    const { code, stdout, stderr } = await work.sidekey(["check"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe(`${work.at("sidekey.yaml")}: fine\n`);
    const json = await work.sidekey(["check", "--json"]);
    expect(json).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(json.stdout)).toEqual({ ok: true, problems: [] });
  });

  it("prints every problem with its place, never a value, and ends with 2", async () => {
    work.write("bad.yaml", `version: 1\nagnt: x\nroutes:\n  api.x.test: { secert: ${CANARY} }\n  b..test: a/b\n`);
    const { code, stdout, stderr } = await work.sidekey(["check", "-c", "bad.yaml"]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/bad\.yaml:2:1 agnt: /);
    expect(stderr).toContain("Did you mean 'agent'?");
    expect(stderr).toMatch(/bad\.yaml:4:\d+ /);
    expect(stderr).toMatch(/bad\.yaml:5:\d+ /);
    expect(stderr).not.toContain(CANARY);
    const json = await work.sidekey(["check", "-c", "bad.yaml", "--json"]);
    expect(json).toMatchObject({ code: 2, stderr: "" });
    const answer = JSON.parse(json.stdout);
    expect(answer.ok).toBe(false);
    expect(answer.problems[0]).toMatchObject({ line: 2, column: 1, path: "agnt" });
    expect(answer.problems.length).toBeGreaterThanOrEqual(3);
    expect(json.stdout).not.toContain(CANARY);
  });

  it("warns of secrets that could be guessed, wherever it can read them, and never says one", async () => {
    work.write(
      "sidekey.yaml",
      `version: 1
sources: { local: { kind: local }, env: { kind: env }, files: { kind: file, root: . } }
routes:
  a.x.test: production/x/key
  b.x.test: env:PIN
  c.x.test: { secret: files:login.json, inject: { kind: basic } }
  d.x.test: env:STRONG
  e.x.test: env:NOT_THERE
  f.x.test: { secret: files:some.json#deep.pin }
  g.x.test: { secret: env:PIN, inject: [{ kind: bearer }, { kind: query, name: key }] }
`,
    );
    work.write("login.json", "a-long-user-name@example.test:hunter2");
    work.write("some.json", JSON.stringify({ deep: { pin: "48151623" }, more: CANARY }));
    const environment = { PIN: "47110815", STRONG: "5f0c9e7a1b3d8462a1f0" };
    await work.sidekey(["secret", "set", "production/x/key"], { input: "correcthorse" });
    const before = readdirSync(work.path, { recursive: true }).sort();
    const { code, stdout, stderr } = await work.sidekey(["check"], { environment });
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${work.at("sidekey.yaml")}: fine\n` });
    const warned = [...stderr.matchAll(/warning: \S*:(\d+):3 routes\S* the secret (\S+) could be guessed/g)];
    expect(warned.map(([, line, secret]) => [line, secret])).toEqual([
      ["4", "local:production/x/key"],
      ["5", "env:PIN"],
      ["6", "files:login.json"],
      ["9", "files:some.json#deep.pin"],
      ["10", "env:PIN"],
    ]);
    for (const value of ["47110815", "hunter2", "48151623", "correcthorse"]) expect(stderr).not.toContain(value);
    const json = await work.sidekey(["check", "--json"], { environment });
    expect(JSON.parse(json.stdout).warnings).toHaveLength(5);
    expect(readdirSync(work.path, { recursive: true }).sort()).toEqual(before);
  });

  it("changes nothing on the disk", async () => {
    work.write("sidekey.yaml", "version: 1\nroutes:\n  api.x.test: production/x/key\n");
    await work.sidekey(["check"]);
    expect(readdirSync(work.path)).toEqual(["sidekey.yaml"]);
  });
});

describe("explain and test", () => {
  const FILE = `version: 1
routes:
  github: { match: "GET https://api.github.com/repos/**", secret: production/github/token, deny: ["* /repos/*/*/keys/**"] }
tests:
  - { request: "GET https://api.github.com/repos/a/b", expect: github }
  - { request: "POST https://api.github.com/repos/a/b", expect: deny }
`;

  it("say what becomes of a request, with nothing but the file", async () => {
    work.write("sidekey.yaml", FILE);
    expect(await work.sidekey(["explain", "GET", "https://api.github.com/repos/a/b"])).toEqual({
      code: 0,
      stdout:
        "inject    by route github\n" +
        "pattern   GET https://api.github.com/repos/**\n" +
        "secret    local:production/github/token\n" +
        "sends     header:authorization (bearer)\n" +
        "removes   the agent's own header:authorization, however it is spelt\n" +
        "because   the most specific pattern that covers this host, method and path\n",
      stderr: "",
    });
    const denied = await work.sidekey(["explain", "GET", "https://api.github.com/repos/a/b/keys/1", "--json"]);
    expect(JSON.parse(denied.stdout)).toEqual({
      decision: "deny",
      route: "github",
      code: "POLICY_DENIED",
      reason: "the route's 'deny' covers this method and path",
    });
    expect(await work.sidekey(["explain", "GET", "https://x.test/", "--agent", "other"])).toMatchObject({ code: 2 });
    expect(readdirSync(work.path)).toEqual(["sidekey.yaml"]);
  });

  it("run the file's tests, and end with 1 when one fails", async () => {
    work.write("sidekey.yaml", FILE);
    expect(await work.sidekey(["test"])).toEqual({ code: 0, stdout: "2 passed, 0 failed\n", stderr: "" });
    work.write("sidekey.yaml", FILE.replace("expect: deny", "expect: github"));
    const failed = await work.sidekey(["test"]);
    expect(failed).toMatchObject({ code: 1, stderr: "" });
    expect(failed.stdout).toContain(
      "failed: POST https://api.github.com/repos/a/b\n  expected github, got deny (POLICY_NO_ROUTE): the host is routed, but",
    );
    expect(failed.stdout).toMatch(/1 passed, 1 failed\n$/);
    const json = await work.sidekey(["test", "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, tests: [{ ok: true, got: "github" }, { ok: false }] });
  });
});

describe("without a file", () => {
  it.each([
    [["check"], 2],
    [["start"], 2],
    [["run", "--", "true"], 125],
  ])("%j says what to write, and ends with %i", async (args, code) => {
    const result = await work.sidekey(args);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toContain(`sidekey: CONFIG_UNREADABLE: `);
    for (const line of FIRST_STEPS) expect(result.stderr).toContain(`\n    ${line}\n`);
  });

  it("says how to write the one that was named", async () => {
    const missing = await work.sidekey(["check", "-c", "none.yaml"]);
    expect(missing).toMatchObject({ code: 2, stdout: "" });
    const hint = /^hint: There is no such file\. To write a first one there: sidekey (.*)$/m.exec(missing.stderr)?.[1];
    expect(await work.sidekey(hint?.split(" ") ?? [])).toMatchObject({ code: 0 });
    expect(await work.sidekey(["check", "-c", "none.yaml"])).toMatchObject({ code: 0 });
  });

  it("answers 'check --json' with a problem of the file as a whole, in JSON", async () => {
    for (const [args, file] of [
      [[], "sidekey.yaml"],
      [["-c", "none.yaml"], "none.yaml"],
      [["-c", "."], "."],
    ] as const) {
      const { code, stdout, stderr } = await work.sidekey(["check", "--json", ...args]);
      expect({ code, stderr }).toEqual({ code: 2, stderr: "" });
      const place = { file: work.at(file).replace(/\/\.$/, ""), line: 1, column: 1, path: "" };
      expect(JSON.parse(stdout)).toEqual({
        ok: false,
        problems: [
          { ...place, message: expect.stringMatching(/^the file cannot be read: /), hint: expect.any(String) },
        ],
      });
    }
  });

  it("sidekey alone shows the same lines", async () => {
    const { code, stdout, stderr } = await work.sidekey([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    for (const line of FIRST_STEPS) expect(stderr).toContain(`\n    ${line}\n`);
  });

  it("what it says to type, typed into a shell as it stands, ends with a program behind a sidecar", () => {
    work.write("sidekey", `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`);
    chmodSync(work.at("sidekey"), 0o755);
    work.write("python", "#!/bin/sh\necho agent $1 runs in $SIDEKEY_RUN\n");
    chmodSync(work.at("python"), 0o755);
    const env = cleanEnvironment({ OPENAI_API_KEY: CANARY, PATH: `${work.path}:${process.env["PATH"]}` });
    const { status, stdout, stderr } = spawnSync("sh", ["-e", "-c", FIRST_STEPS.join("\n")], {
      cwd: work.path,
      env,
      encoding: "utf8",
    });
    expect({ status, stderr: stderr.replace(/^sidekey: same user: .*\n/, "") }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(
      /^wrote sidekey\.yaml\n[\s\S]*\nstored production\/openai\/api-key version 1, only for api\.openai\.com\nagent agent\.py runs in \w+\n$/,
    );
    expect(stdout + stderr).not.toContain(CANARY);
  });
});

describe("audit and ca before anything has run", () => {
  it("say so, and make nothing", async () => {
    expect(await work.sidekey(["audit", "tail"])).toEqual({
      code: 0,
      stdout: "",
      stderr: "sidekey: no audit records yet\n",
    });
    expect(await work.sidekey(["audit", "verify"])).toEqual({
      code: 0,
      stdout: "",
      stderr: "sidekey: no audit records yet\n",
    });
    expect(await work.sidekey(["audit", "verify", "--json"])).toMatchObject({
      code: 0,
      stdout: '{"ok":true,"logs":[]}\n',
    });
    const ca = await work.sidekey(["ca", "print"]);
    expect(ca).toMatchObject({ code: 1, stdout: "" });
    expect(ca.stderr).toContain("sidekey: TLS_CA_UNUSABLE: ");
    expect(ca.stderr).toContain("'sidekey start' makes it");
    expect(readdirSync(work.path)).toEqual([]);
  });

  it("never print a file in the CA's place that is no certificate", async () => {
    work.write("sidekey.yaml", "version: 1\nstate: .\n");
    work.write("ca.pem", CANARY);
    const { code, stdout, stderr } = await work.sidekey(["ca", "print"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).not.toContain(CANARY);
  });

  it.each([["x"], ["-1"], ["1.5"]])("audit tail -n %s is refused", async (count) => {
    expect(await work.sidekey(["audit", "tail", "-n", count])).toMatchObject({ code: 2 });
  });
});
