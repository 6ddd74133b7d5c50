/** `sidekey doctor`: what it finds wrong, what it says to do, and that nothing is left of its looking. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Api, CANARY, CANARY_FORMS, createApi } from "../support/api.ts";
import { cleanEnvironment, type Finished, finished, launch, MAIN, startSidekey } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const isRoot = process.getuid?.() === 0;
const has = (program: string, ...args: readonly string[]): boolean => spawnSync(program, args).status === 0;
/** Clients that this machine has; with SIDEKEY_TEST_ALL=1 it has to have all. */
const REAL: readonly (readonly [name: string, result: "works" | "needs", isHere: boolean])[] = [
  ["curl", "works", has("curl", "--version")],
  ["git", "works", has("git", "--version")],
  ["python-urllib", "works", has("python3", "--version")],
  ["python-requests", "works", has("python3", "-c", "import requests")],
  ["python-httpx", "works", has("python3", "-c", "import httpx")],
  ["python-aiohttp", "needs", has("python3", "-c", "import aiohttp")],
  ["axios", "works", true],
  ["java", "needs", has("javac", "-version")],
];

interface Check {
  readonly section: string;
  readonly level: string;
  readonly what: string;
  readonly text: string;
  readonly hint?: string;
}

interface Client {
  readonly name: string;
  readonly result: string;
  readonly reason?: string;
  readonly set?: string;
}

interface Answer {
  readonly ok: boolean;
  readonly checks: readonly Check[];
  readonly clients: readonly Client[];
}

/** Runs it, and returns its JSON; the exit code says the same as `ok`. */
const diagnose = async (
  work: Workspace,
  args: readonly string[] = ["--client", "none"],
  environment: Readonly<Record<string, string>> = {},
): Promise<Answer> => {
  const { code, stdout, stderr } = await work.sidekey(["doctor", "--json", ...args], { environment });
  expect(stderr).toBe("");
  const answer: Answer = JSON.parse(stdout);
  expect(code).toBe(answer.ok ? 0 : 1);
  for (const form of CANARY_FORMS) expect(stdout).not.toContain(form);
  return answer;
};

/** What depends on the machine that the tests run on. */
const OF_THE_MACHINE: readonly string[] = ["memory", "open files", "disk"];

const worse = ({ checks }: Answer): readonly string[] =>
  checks
    .filter(({ what }) => !OF_THE_MACHINE.includes(what))
    .filter(({ level }) => level === "warn" || level === "fail")
    .map(({ level, what }) => `${level} ${what}`);

describe("doctor where nothing is", () => {
  let work: Workspace;
  beforeEach(() => {
    work = createWorkspace();
  });
  afterEach(() => work.remove());

  it("says what to type, finds nothing wrong, and makes nothing", async () => {
    const { code, stdout, stderr } = await work.sidekey(["doctor", "--client", "none"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^This machine\n {2}ok {4}sidekey: \d/);
    expect(stdout).toContain(`  WARN  file: there is no sidekey.yaml in ${work.path}\n        Type these three lines`);
    expect(stdout).not.toContain("\u001b");
    expect(readdirSync(work.path)).toEqual([]);
  });

  it("tells a client that it does not know, and what was meant", async () => {
    const result = await work.sidekey(["doctor", "--client", "culr"]);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("hint: Did you mean 'curl'?");
  });

  it("is refused inside a run", async () => {
    expect(await work.sidekey(["doctor"], { environment: { SIDEKEY_RUN: "x" } })).toMatchObject({
      code: 2,
      stdout: "",
    });
  });

  it("reports every problem of the file, and says no value of it", async () => {
    work.write("sidekey.yaml", `version: 1\nagnt: ${CANARY}\nroutes: { x.test: { secrte: a/b } }\n`);
    const answer = await diagnose(work);
    expect(worse(answer)).toContain("fail file");
    expect(answer.checks.filter(({ what }) => what === "file").map(({ hint }) => hint)).toContain(
      "Did you mean 'agent'?",
    );
  });

  it("reports a process that is open to others", async () => {
    const answer = await diagnose(work, ["--client", "none"], { NODE_TLS_REJECT_UNAUTHORIZED: "0" });
    expect(worse(answer)).toContain("fail process");
  });
});

describe("doctor where sidekey is in use", () => {
  let api: Api;
  let work: Workspace;
  beforeAll(async () => {
    api = await createApi();
    await (await startSidekey([], { cwd: api.work.path })).stop();
  });
  afterAll(() => api.close());
  // Each test damages a copy.
  beforeEach(() => {
    work = createWorkspace();
    const { status, stderr } = spawnSync("cp", ["-a", `${api.work.path}/.`, work.path], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  });
  afterEach(() => work.remove());

  const state = (name: string): string => work.at(`.sidekey/${name}`);
  const change = (text: string): void => appendFileSync(work.at("sidekey.yaml"), text);

  it("finds nothing wrong, and changes no file", async () => {
    const look = (): readonly string[] =>
      readdirSync(work.path, { recursive: true, encoding: "utf8" }).sort().map(String);
    const before = look();
    const audit = readFileSync(state("audit.jsonl"));
    const answer = await diagnose(work);
    expect(worse(answer)).toEqual([]);
    expect(answer.ok).toBe(true);
    const texts = answer.checks.map(({ what, text }) => `${what}: ${text}`);
    expect(texts).toContain("vault local: opens, 1 secret");
    expect(texts).toContainEqual(expect.stringMatching(/^CA: key and certificate belong together, valid to 20\d\d-/));
    expect(texts).toContain(`audit: ${state("audit.jsonl")} can be written`);
    expect(look()).toEqual(before);
    expect(readFileSync(state("audit.jsonl")).equals(audit)).toBe(true);
  });

  it("knows the sidecar that runs, and takes no port of it for another's", async () => {
    const running = await startSidekey([], { cwd: work.path });
    const answer = await diagnose(work);
    await running.stop();
    expect(worse(answer)).toEqual([]);
    const ports = answer.checks.filter(({ what }) => what.startsWith("listen.")).map(({ text }) => text);
    expect(ports).toContain(
      `${running.ready["proxy"]}, served by the sidecar that runs (process ${running.ready["pid"]})`,
    );
  });

  /** What is broken, what is said of it, and what to do. Those of one group do not hide each other. */
  type Damage = readonly [damage: () => void, found: string, hint: RegExp];
  const groups: Readonly<Record<string, readonly Damage[]>> = {
    modes: [
      [() => chmodSync(state("ca.key"), 0o644), "fail CA", /chmod 600/],
      [() => chmodSync(state("ca.key"), 0o644), "fail mode", /chmod 600 \S*ca\.key/],
      [() => chmodSync(state("ca-bundle.pem"), 0o666), "fail mode", /chmod go-w \S*ca-bundle\.pem/],
      [() => chmodSync(work.at(".sidekey"), 0o755), "fail mode", /chmod 700 \S*\.sidekey/],
      [() => chmodSync(state("vault.key"), 0o640), "fail vault local", /chmod 600/],
      [() => rmSync(state(".gitignore")), "warn state directory", /printf/],
      [() => change("audit: { path: ./.sidekey }\n"), "fail audit", /AUDIT_UNAVAILABLE/],
    ],
    "wrong keys": [
      [() => writeFileSync(state("vault.key"), `${"A".repeat(43)}=\n`), "fail vault local", /key/],
      [() => rmSync(state("ca.key")), "fail CA", /Put it back/],
      [() => writeFileSync(state("audit.key"), "x"), "fail audit key", /./],
      [() => change("audit: { path: ./none/audit.jsonl }\n"), "fail audit", /mkdir -p/],
    ],
    "damaged files": [
      [() => writeFileSync(state("vault/data.mdb"), "x"), "fail vault local", /restore/],
      [() => writeFileSync(state("ca.pem"), "x"), "fail CA", /./],
    ],
  };

  it.each(Object.keys(groups))("reports %s, all at once, and what to do", async (name) => {
    const damages = groups[name] ?? [];
    for (const [damage] of damages) damage();
    const answer = await diagnose(work);
    for (const [, expected, hint] of damages) {
      const found = answer.checks.filter(({ level, what }) => `${level} ${what}` === expected);
      expect(found.map((one) => one.hint ?? "").join("\n"), expected).toMatch(hint);
    }
  });

  it("reports a vault with more keys than one, and how to end that", async () => {
    const file = state("vault.key");
    writeFileSync(file, `${Buffer.alloc(32, 7).toString("base64url")}=\n${readFileSync(file, "utf8")}`);
    const answer = await diagnose(work);
    expect(worse(answer)).toEqual(["warn vault local"]);
    expect(answer.checks.find(({ level }) => level === "warn")).toMatchObject({
      text: expect.stringContaining("has 2 keys"),
      hint: "sidekey vault rekey --source local",
    });
    expect((await work.sidekey(["vault", "rekey"])).code).toBe(0);
    expect(worse(await diagnose(work))).toEqual([]);
  });

  it("reports secrets that routes need and the vault has not", async () => {
    await work.sidekey(["secret", "rm", "production/x/key"]);
    const answer = await diagnose(work);
    expect(answer.ok).toBe(true);
    expect(answer.checks.find(({ level, what }) => level === "warn" && what.startsWith("vault"))).toMatchObject({
      what: "vault local",
      text: "has no production/x/key, which routes need",
      hint: 'printf %s "$KEY" | sidekey secret set production/x/key',
    });
  });

  it("reports a port that another program has", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const path = work.at("sidekey.yaml");
    writeFileSync(path, readFileSync(path, "utf8").replace("127.0.0.1:0", `127.0.0.1:${port}`));
    const answer = await diagnose(work);
    other.close();
    expect(worse(answer)).toEqual(["fail listen.proxy"]);
    expect(answer.checks.find(({ what }) => what === "listen.proxy")?.text).toBe(
      `127.0.0.1:${port} is taken by another program`,
    );
  });

  it.runIf(isRoot)("as another user reports that, and what it can of the rest", async () => {
    chmodSync(work.path, 0o755);
    const as = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    const { status, stdout, stderr } = spawnSync(
      "setpriv",
      [...as, process.execPath, MAIN, "doctor", "--client", "none", "--json"],
      { cwd: work.path, env: cleanEnvironment(), encoding: "utf8" },
    );
    expect({ status, stderr }).toEqual({ status: 1, stderr: "" });
    const answer: Answer = JSON.parse(stdout);
    expect(worse(answer)).toContain("fail owner");
    expect(answer.checks.map(({ what }) => what)).toEqual(expect.arrayContaining(["file", "CA", "listen.admin"]));
  });

  it.runIf(isRoot)("reports what belongs to another user", async () => {
    chownSync(state("ca.key"), 65_534, 65_534);
    expect(worse(await diagnose(work))).toContain("fail owner");
  });
});

describe("doctor and the clients", () => {
  let work: Workspace;
  let temporary: string;
  let programs: string;
  beforeEach(() => {
    work = createWorkspace();
    temporary = work.at("tmp");
    programs = work.at("bin");
    mkdirSync(temporary);
    mkdirSync(programs);
    symlinkSync(process.execPath, `${programs}/node`);
  });
  afterEach(() => work.remove());

  const pretend = (name: string, script: string): void => {
    writeFileSync(`${programs}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  };
  const tryOut = async (...names: readonly string[]): Promise<Answer> => {
    const chosen = names.flatMap((name) => ["--client", name]);
    const answer = await diagnose(work, chosen, { PATH: `${programs}:/usr/bin:/bin`, TMPDIR: temporary });
    expect(readdirSync(temporary)).toEqual([]);
    return answer;
  };

  it("makes a real call with Node's fetch, and leaves nothing behind", async () => {
    const { ok, clients } = await tryOut("node-fetch");
    expect(clients).toEqual([{ name: "node-fetch", version: process.versions.node, result: "works" }]);
    expect(ok).toBe(true);
    expect(readdirSync(work.path).sort()).toEqual(["bin", "tmp"]);
  });

  it.each(REAL)("makes one with %s: it %s", async (name, result, isHere) => {
    symlinkSync(new URL("../../node_modules", import.meta.url).pathname, work.at("node_modules"));
    const { ok, clients } = await diagnose(work, ["--client", name], { TMPDIR: temporary });
    const isWanted = isHere || process.env["SIDEKEY_TEST_ALL"] === "1";
    expect(clients).toMatchObject([{ name, result: isWanted ? result : "absent" }]);
    expect(ok).toBe(true);
    expect(readdirSync(temporary)).toEqual([]);
  });

  it("takes no program's word for it: the stand-in has to have seen the key", async () => {
    pretend("curl", 'echo "curl 9.9.9"; exit 0');
    const { ok, clients } = await tryOut("curl");
    expect(ok).toBe(false);
    expect(clients).toEqual([{ name: "curl", version: "9.9.9", result: "fails", reason: "ended with 0: curl 9.9.9" }]);
  });

  it("says why a client does not get through, and what to do", async () => {
    pretend("curl", "echo 'curl: (6) Could not resolve host: x' >&2; exit 6");
    pretend("git", "echo 'fatal: SSL certificate problem: self-signed certificate' >&2; exit 128");
    const { clients } = await tryOut("curl", "git");
    expect(clients.map(({ reason }) => reason)).toEqual([
      "it does not use the proxy of HTTPS_PROXY",
      "it does not trust the CA that 'run' names in its environment",
    ]);
    const { code, stdout } = await work.sidekey(["doctor", "--client", "git"], {
      environment: { PATH: `${programs}:/usr/bin:/bin`, TMPDIR: temporary },
    });
    expect(code).toBe(1);
    expect(stdout).toContain("  FAIL  git: it does not trust the CA");
    expect(stdout).toContain("        Give it ca-bundle.pem in its own settings");
  });

  it("says what has to be set, when that is what it takes", async () => {
    pretend(
      "wget",
      `case "$*" in *--ca-certificate=*) exec node -e 'fetch(process.argv[1]).then((r) => r.ok || process.exit(1))' "$(for last; do :; done; echo "$last")";; --version) echo "GNU Wget 1.2.3";; *) echo "cannot verify certificate" >&2; exit 5;; esac`,
    );
    const { ok, clients } = await tryOut("wget");
    expect(clients).toMatchObject([{ name: "wget", version: "1.2.3", result: "needs" }]);
    expect(clients[0]?.set).toContain("--ca-certificate");
    expect(ok).toBe(true);
  });

  it("gives no client a variable that the file reads a credential from", async () => {
    work.write(
      "sidekey.yaml",
      "version: 1\nsources: { env: { kind: env } }\nroutes: { x.test: env:REAL_KEY }\nunmatched: deny\n",
    );
    pretend("curl", `env > "${work.at("seen")}"`);
    await diagnose(work, ["--client", "curl"], {
      PATH: `${programs}:/usr/bin:/bin`,
      TMPDIR: temporary,
      REAL_KEY: CANARY,
      OTHER: "kept",
    });
    const seen = readFileSync(work.at("seen"), "utf8");
    expect(seen).toContain("OTHER=kept");
    expect(seen).toMatch(/^HTTPS_PROXY=http:\/\/127\.0\.0\.1:\d+$/m);
    expect(seen).not.toContain(CANARY);
  });

  it("names those that are not here, and goes on without them", async () => {
    rmSync(`${programs}/node`);
    const { ok, clients } = await diagnose(work, ["--client", "node-fetch"], { PATH: programs, TMPDIR: temporary });
    expect({ ok, clients }).toEqual({ ok: true, clients: [{ name: "node-fetch", result: "absent" }] });
  });

  /** One that never ends by itself; resolves when it runs. */
  const startEndless = async () => {
    pretend("curl", `echo $$ > "${work.at("pid")}"; exec sleep 600`);
    const child = launch(["doctor", "--client", "curl"], {
      cwd: work.path,
      environment: { PATH: `${programs}:/usr/bin:/bin`, TMPDIR: temporary },
    });
    const end: Promise<Finished> = finished(child);
    await until(() => readdirSync(work.path).includes("pid") && readFileSync(work.at("pid"), "utf8").endsWith("\n"));
    return { child, end, pid: readFileSync(work.at("pid"), "utf8").trim() };
  };
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  /** A zombie that nobody has asked for yet is gone as well. */
  const isGone = (pid: string): boolean => {
    try {
      return /^\d+ \(.*\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
    } catch {
      return true;
    }
  };

  it.each(["SIGINT", "SIGTERM"] as const)("ends at %s, with what it started and what it made", async (signal) => {
    const { child, end, pid } = await startEndless();
    child.kill(signal);
    expect((await end).code).toBe(signal === "SIGINT" ? 130 : 143);
    expect(readdirSync(temporary)).toEqual([]);
    await until(() => isGone(pid));
  });

  it("leaves nothing behind either when it has to end at once", async () => {
    const { child, end, pid } = await startEndless();
    child.kill("SIGINT");
    child.kill("SIGTERM");
    expect([130, 143]).toContain((await end).code);
    expect(readdirSync(temporary)).toEqual([]);
    await until(() => isGone(pid));
  });

  it("lets no client steer the terminal by what it prints", async () => {
    pretend("curl", "printf '\\033[2Jgone\\n' >&2; exit 1");
    const { stdout } = await work.sidekey(["doctor", "--client", "curl"], {
      environment: { PATH: `${programs}:/usr/bin:/bin`, TMPDIR: temporary },
    });
    expect(stdout).toContain("FAIL  curl: ended with 1: \\x1b[2Jgone");
    expect(stdout).not.toContain("\u001b");
  });

  it("tells what it found although no client can be tried", async () => {
    const answer = await diagnose(work, ["--client", "node-fetch"], { TMPDIR: work.at("none") });
    expect(answer.checks.length).toBeGreaterThan(3);
    expect(answer.clients).toMatchObject([{ result: "fails", reason: expect.stringContaining("ENOENT") }]);
  });
});
