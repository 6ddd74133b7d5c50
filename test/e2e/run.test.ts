/** `sidekey run` around a program: its end, its signals, its environment, and what stays behind. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { cleanEnvironment, type Finished, finished, launch, MAIN } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const CANARY = "sk-canary-93be02d7f1";
const NOTE = "sidekey: same user: a hostile program could still read this process; 'run' is no boundary against it.\n";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
  work.write("sidekey.yaml", "version: 1\nroutes:\n  api.example.test: production/x/key\n");
});
afterEach(() => work.remove());

const run = (args: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Finished> =>
  work.sidekey(["run", ...args], { environment });
const sh = (script: string, environment: Readonly<Record<string, string>> = {}) =>
  run(["--", "sh", "-c", script], environment);

describe("the end of a run", () => {
  it.each([
    ["exit 0", 0],
    ["exit 7", 7],
    ["exit 2", 2],
    ["kill -TERM $$", 143],
    ["kill -KILL $$", 137],
    ["kill -INT $$", 130],
  ])("after %s is code %i", async (script, code) => {
    expect(await sh(script)).toEqual({ code, stdout: "", stderr: NOTE });
  });

  it("is 127 for a program that is not there, with a hint", async () => {
    const { code, stdout, stderr } = await run(["--", "no-such-program-here"]);
    expect({ code, stdout }).toEqual({ code: 127, stdout: "" });
    expect(stderr).toContain("'no-such-program-here' cannot be started (ENOENT).\nhint: Check its name and PATH.\n");
  });

  it("is 125 where its log cannot be written, with a hint", async () => {
    await run(["--", "true"]);
    rmSync(work.at(".sidekey/sidekey.log"));
    mkdirSync(work.at(".sidekey/sidekey.log"));
    const { code, stdout, stderr } = await run(["--", "true"]);
    expect({ code, stdout }).toEqual({ code: 125, stdout: "" });
    expect(stderr).toContain("sidekey: CONFIG_INVALID: ");
    expect(stderr).toContain(`The log ${work.at(".sidekey/sidekey.log")} cannot be written (EISDIR).`);
  });

  it("is 126 for a file that is no program", async () => {
    chmodSync(work.write("plain", "text"), 0o644);
    const { code, stderr } = await run(["--", "./plain"]);
    expect(code).toBe(126);
    expect(stderr).toContain("cannot be started (EACCES)");
  });

  it.each([
    ["a wrong file", ["-c", "bad.yaml", "--", "true"], "CONFIG_INVALID"],
    ["a missing file", ["-c", "none.yaml", "--", "true"], "CONFIG_UNREADABLE"],
    ["no program", [], "CONFIG_USAGE"],
    ["an unknown option", ["--wrong", "--", "true"], "CONFIG_USAGE"],
    ["a user who is not there", ["--user", "no-such-user", "--", "true"], "CONFIG_USAGE"],
    ["--expose of a variable that is not there", ["--expose", "NO_SUCH_KEY", "--", "true"], "CONFIG_USAGE"],
    ["--vault", ["--vault", "https://v.test", "--", "true"], "CONFIG_USAGE"],
  ])("is 125 for %s", async (_, args, code) => {
    work.write("bad.yaml", "version: 2\n");
    const result = await run(args);
    expect(result).toMatchObject({ code: 125, stdout: "" });
    expect(result.stderr).toContain(`sidekey: ${code}: `);
  });

  it("leaves its audit, its log and no files of its run", async () => {
    await sh("true");
    expect(readdirSync(work.at(".sidekey/run"))).toEqual([]);
    expect(statSync(work.at(".sidekey/sidekey.log")).mode & 0o777).toBe(0o600);
    expect(readdirSync(work.at(".sidekey")).filter((name) => /^audit-[0-9a-f]+\.jsonl$/.test(name))).toHaveLength(1);
    expect(existsSync(work.at(".sidekey/ca.key"))).toBe(false);
  });
});

describe("the streams of a run", () => {
  it("are the program's own", async () => {
    const child = launch(["run", "--", "sh", "-c", "cat; echo error >&2"], { cwd: work.path });
    child.stdin?.end("input");
    expect(await finished(child)).toEqual({ code: 0, stdout: "input", stderr: `${NOTE}error\n` });
  });

  it("hold no log, however much is logged", async () => {
    const { stderr } = await sh(`"${process.execPath}" -e 'fetch("https://api.example.test").catch(() => {})'`, {
      SIDEKEY_LOG_LEVEL: "debug",
    });
    expect(stderr).toBe(NOTE);
  });
});

describe("signals to a run", () => {
  /** A program that says which signals reached it, and ends at the one that is waited for. */
  const trap = (signals: readonly string[]): string =>
    `${signals.map((name) => `trap 'echo got ${name}; exit 3' ${name};`).join(" ")} echo ready $$; while :; do sleep 0.05; done`;

  const started = async (script: string) => {
    const child = launch(["run", "--", "sh", "-c", script], { cwd: work.path });
    const end = finished(child);
    const pid = await new Promise<number>((resolve, reject) => {
      child.stdout?.on("data", (chunk) => {
        const found = /ready (\d+)/.exec(String(chunk));
        if (found !== null) resolve(Number(found[1]));
      });
      end.then(({ stderr }) => reject(new Error(stderr)), reject);
    });
    return { child, end, pid };
  };

  it.each(["TERM", "HUP", "USR1", "USR2", "WINCH"] as const)("%s is passed on", async (name) => {
    const { child, end } = await started(trap([name]));
    child.kill(`SIG${name}`);
    const { code, stdout } = await end;
    expect(stdout).toMatch(new RegExp(`^ready \\d+\\ngot ${name}\\n$`));
    expect(code).toBe(3);
  });

  it.each(["INT", "QUIT", "TSTP"] as const)(
    "%s is left to the program, which a terminal tells itself",
    async (name) => {
      const { child, end, pid } = await started(trap([name, "TERM"]));
      child.kill(`SIG${name}`);
      process.kill(pid, "SIGTERM");
      const { code, stdout } = await end;
      expect(stdout).toMatch(/^ready \d+\ngot TERM\n$/);
      expect(code).toBe(3);
    },
  );

  it("the program is in our process group", async () => {
    const { child, end, pid } = await started(trap(["TERM"]));
    const groupOf = (process: number): string =>
      readFileSync(`/proc/${process}/stat`, "utf8").split(") ")[1]?.split(" ")[2] ?? "";
    expect(groupOf(pid)).toBe(groupOf(child.pid ?? 0));
    child.kill("SIGTERM");
    await end;
  });
});

describe("the environment of a run", () => {
  const FILE = `
version: 1
sources:
  vault: { kind: local, key: { env: MY_FERNET } }
  shell: { kind: env }
routes:
  one:
    match: https://one.test/**
    secret: shell:ONE_KEY
    env: ONE_KEY
  two:
    match: https://localhost:8443/**
    secret: production/x/key
`;
  const MY_FERNET = Buffer.alloc(32, 5).toString("base64url");

  it("is the table's: keys out, placeholders and proxy in", async () => {
    work.write("sidekey.yaml", FILE);
    await work.sidekey(["secret", "set", "production/x/key"], { input: CANARY, environment: { MY_FERNET } });
    const { stdout } = await run(["--", "env"], {
      MY_FERNET,
      ONE_KEY: "one-key-canary-17",
      COPY_OF_ONE: "x one-key-canary-17 x",
      COPY_OF_TWO: CANARY,
      VAULT_TOKEN: "vault-token",
      HTTP_PROXY: "http://corp.test:3128",
      NODE_TLS_REJECT_UNAUTHORIZED: "0",
      NODE_OPTIONS: "--max-old-space-size=512",
      SIDEKEY_CONFIG: work.at("sidekey.yaml"),
      KEPT: "kept",
    });
    const variables = new Map(
      stdout.split("\n").map((line) => [line.split("=")[0], line.slice(line.indexOf("=") + 1)]),
    );
    for (const gone of [
      "MY_FERNET",
      "COPY_OF_ONE",
      "COPY_OF_TWO",
      "VAULT_TOKEN",
      "SIDEKEY_CONFIG",
      "NODE_TLS_REJECT_UNAUTHORIZED",
    ]) {
      expect(variables.has(gone), gone).toBe(false);
    }
    expect(variables.get("KEPT")).toBe("kept");
    expect(variables.get("ONE_KEY")).toMatch(/^sidekey-placeholder-one-[0-9a-f]{12}$/);
    expect(variables.get("HTTPS_PROXY")).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(variables.get("NO_PROXY")).toBe("127.0.0.1,::1");
    expect(variables.get("NODE_OPTIONS")).toMatch(/^--max-old-space-size=512 --require ".*\/preload\.cjs"$/);
    expect(variables.get("SSL_CERT_FILE")).toMatch(/\/\.sidekey\/run\/[0-9a-f]+\/ca-bundle\.pem$/);
    expect(variables.get("SSL_CERT_FILE")).toContain(`/${variables.get("SIDEKEY_RUN")}/`);
    for (const secret of [CANARY, "one-key-canary-17", MY_FERNET]) expect(stdout).not.toContain(secret);
  });

  it("has a bundle with our CA, the system's, and what the caller's variable named", async () => {
    const own = (await createTestAuthority("Corp")).certificatePem.trim();
    const file = work.write("corp.pem", `${own}\n`);
    const script = 'cat "$NODE_EXTRA_CA_CERTS"; echo ~~; cat "$REQUESTS_CA_BUNDLE"';
    const { stdout } = await sh(script, { CURL_CA_BUNDLE: file, AWS_CA_BUNDLE: "/no/such/file" });
    const [ca = "", bundle = ""] = stdout.split("~~\n");
    expect(ca.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
    expect(bundle.startsWith(ca.trim())).toBe(true);
    expect(bundle.includes(own), "the caller's own").toBe(true);
    expect(bundle.match(/BEGIN CERTIFICATE/g)?.length).toBeGreaterThan(20);
  });

  it("has the same placeholder from run to run", async () => {
    work.write("sidekey.yaml", FILE);
    const environment = { MY_FERNET, ONE_KEY: "one-key-canary-17" };
    const [first, second] = [await sh("echo $ONE_KEY", environment), await sh("echo $ONE_KEY", environment)];
    expect(first.stdout).toBe(second.stdout);
  });

  it("is told with -v, by names only", async () => {
    await work.sidekey(["secret", "set", "production/x/key"], { input: CANARY });
    const { stdout, stderr } = await run(["-v", "--", "true"], { OTHER: CANARY });
    expect(stdout).toBe("");
    expect(stderr).toContain("sidekey: removed: OTHER\n");
    expect(stderr).toContain("HTTPS_PROXY");
    expect(stderr).not.toContain(CANARY);
  });

  it("loses what looks like a credential while a source is down, and says so", async () => {
    const sources = "sources: { down: { kind: exec, command: [sh, -c, 'exit 1'] } }";
    work.write("sidekey.yaml", `version: 1\n${sources}\nroutes:\n  api.example.test: down:x\n`);
    const environment = { ACME_TOKEN: CANARY, SSH_AUTH_SOCK: "/run/agent", OTHER: "kept" };
    const { code, stdout, stderr } = await sh('echo "$ACME_TOKEN,$SSH_AUTH_SOCK,$OTHER"', environment);
    expect({ code, stdout }).toEqual({ code: 0, stdout: ",/run/agent,kept\n" });
    expect(stderr).toBe(
      "sidekey: not to be read now: down:x (SOURCE_UNAVAILABLE). Its requests get 503 until it is.\n" +
        `sidekey: variables that might hold it are kept from the program: ACME_TOKEN\n${NOTE}`,
    );
  });

  it("keeps sidekey itself from handing out keys", async () => {
    await work.sidekey(["secret", "set", "production/x/key"], { input: CANARY });
    const { stdout, stderr } = await sh(
      `"${process.execPath}" "${MAIN}" secret get production/x/key --reveal; echo $?`,
    );
    expect(stdout).toBe("2\n");
    expect(stderr).toContain("does not work inside 'sidekey run'");
  });
});

describe("a process that opens itself to others", () => {
  it.each([
    [["--inspect=0"], {}],
    [[], { NODE_OPTIONS: "--heapsnapshot-signal=SIGUSR2" }],
    [[], { NODE_DEBUG: "http" }],
  ])("is not started: node %j, %j", async (nodeArguments, environment) => {
    const result = await work.sidekey(["run", "--", "echo", "ran"], { nodeArguments, environment });
    expect(result).toMatchObject({ code: 125, stdout: "" });
    expect(result.stderr).toContain("Refusing to start: ");
  });
});

describe("two runs at once", () => {
  it("do not disturb each other", async () => {
    const both = await Promise.all([sh("echo $HTTP_PROXY; sleep 0.3"), sh("echo $HTTP_PROXY; sleep 0.3")]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(new Set(both.map(({ stdout }) => stdout)).size).toBe(2);
    expect((await work.sidekey(["audit", "verify", "--json"])).code).toBe(0);
  });
});

describe("a run that is left at once", () => {
  it("by its reader or its parent ends with the program", async () => {
    const env = cleanEnvironment();
    const script = `"${process.execPath}" "${MAIN}" run -- sh -c 'echo one; exit 4'; echo code $?`;
    const { stdout } = await finished(spawn("sh", ["-c", script], { cwd: work.path, env }));
    expect(stdout).toBe("one\ncode 4\n");
  });
});
