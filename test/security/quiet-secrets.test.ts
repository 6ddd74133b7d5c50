/**
 * A secret is in nothing that Sidekey says or leaves behind: output, logs at every level, the audit, error bodies, status
 * and metrics, arguments, environments, crashes, cores (guarantees.md O4, F1 to F3, G1). The values are hostile, the
 * program is the built one, and what looks for them (support/leaks.ts) shares nothing with it.
 */
import { chmodSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { ProxyAgent, request } from "undici";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { SecretValue } from "../../src/core/secret-value.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { leaksOf } from "../support/leaks.ts";
import { finished, launch, type Running, startSidekey } from "../support/program.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";
import { withVault } from "../support/vault/open-vault.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

/** In every value, so that one search finds them all, whatever became of the characters around it. */
const CORE = "7Kq2Zw9XbV4mJt";
/** The same in what an environment has to hold. */
const OWN_CORE = "Hs8Lp3Yc6RfN1d";

/** Values that can be stored: what quotes, formats, replaces, expands or ends something elsewhere. */
const VALUES: Readonly<Record<string, string>> = {
  quotes: `${CORE}"'\`\\`,
  patterns: `$&$1$\`$'$$${CORE}$<x>`,
  formats: `%s%o%j%d%c${CORE}%`,
  json: `{"k":"${CORE}","__proto__":{"x":1}}`,
  markup: `</script><!--${CORE}-->&amp;`,
  shell: `;$(touch x)|&>${CORE}*?~#`,
  unicode: `\u00fc${CORE}\u00df`,
};

/** Values that no source may hand on. */
const REFUSED: Readonly<Record<string, string>> = {
  crlf: `${CORE}\r\nx-other: 1`,
  nul: `${CORE}\0x`,
  escape: `\u001b[2J${CORE}\u0007`,
  lines: `-----BEGIN KEY-----\n${CORE}\n-----END KEY-----`,
};

const expectQuiet = (text: string | Buffer, where: string, core = CORE): void => {
  expect(leaksOf(Buffer.from(text), Buffer.from(core)), where).toEqual([]);
};

// Many processes, one after the other.
vi.setConfig({ testTimeout: 120_000 });

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
});
afterEach(() => work.remove());

/** Every file below, but for those that are the sources' own. */
const expectQuietFiles = (...except: string[]): void => {
  for (const entry of readdirSync(work.path, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(work.path.length + 1);
    if (entry.isFile() && !except.some((own) => path.startsWith(own))) expectQuiet(readFileSync(work.at(path)), path);
  }
};

describe("a command", () => {
  const environment = { SIDEKEY_LOG_LEVEL: "debug" };
  const quiet = async (args: string[], input: string | Buffer = "", more: Record<string, string> = {}) => {
    const end = await work.sidekey(args, { input, environment: { ...environment, ...more } });
    expectQuiet(end.stdout + end.stderr, args.join(" "));
    return end;
  };

  it("says nothing of a value that it stores, lists, backs up or puts on record", async () => {
    for (const [name, value] of Object.entries(VALUES)) {
      expect((await quiet(["secret", "set", `values/${name}`], value)).code, name).toBe(0);
    }
    expect((await quiet(["secret", "rotate", "values/json", "--grace", "1h"], `${CORE}-next`)).code).toBe(0);
    const file = `A='${CORE}"$&%s'\nexport B=${CORE}\n`;
    expect((await quiet(["secret", "import", "-", "--prefix", "env/app"], file)).code).toBe(0);
    for (const args of [
      ["secret", "list", "--json"],
      ["secret", "history", "values/json"],
      ["secret", "get", "values/json"],
      ["vault", "backup", "vault.backup"],
      ["vault", "restore", "vault.backup", "--replace"],
      ["token", "issue", "--scope", "secrets:use:values/*"],
      ["audit", "tail", "-n", "100"],
      ["secret", "rm", "values/json"],
    ]) {
      await quiet(args);
    }
    expectQuietFiles();
  });

  it("says nothing of the keys that 'init' takes out of a file, and leaves none in it", async () => {
    const env = `OPENAI_API_KEY='${CORE}"$&%s'\nexport GH_TOKEN=${CORE} # x\nTAVILY_API_KEY="${CORE} '"\n`;
    work.write(".env", env);
    expect((await quiet(["init", "--from", ".env", "--json"])).code).toBe(0);
    for (const args of [
      ["check"],
      ["explain", "GET", "https://api.openai.com/v1/models"],
      ["env", "--format", "dotenv"],
      ["status"],
    ]) {
      await quiet(args);
    }
    expectQuietFiles();
  });

  it("says nothing of a value that it refuses, wherever it stands", async () => {
    for (const [name, value] of Object.entries(REFUSED)) {
      expect((await quiet(["secret", "set", `values/${name}`], value)).code, name).toBe(2);
    }
    const imported = ["secret", "import", "-", "--prefix", "env/app"];
    for (const line of [`A="${REFUSED["lines"]}"`, `A=${CORE}#1`, CORE, `A=\`${CORE}\``, `A="${CORE}`]) {
      expect((await quiet(imported, line)).code, line).toBe(2);
    }
    work.write("broken.backup", `{"format":"sidekey-vault-backup","v":1}\n${CORE}\n`);
    expect((await quiet(["vault", "restore", "broken.backup"])).code).toBe(2);
    for (const text of [
      `version: 1\nroutes:\n  a.test: { secret: "${CORE}", inject: { kind: "${CORE}" } }\nlog: { level: ${CORE} }\n`,
      `version: 1\nagent: "${CORE} ${CORE}"\nsources: { a: { kind: local, token: ${CORE} } }\n`,
      `version: 1\nlisten: "${CORE}`,
      `version: ${CORE}\n`,
      `- ${CORE}\n`,
      CORE,
    ]) {
      work.write("sidekey.yaml", text);
      for (const args of [["check"], ["start"]]) expect((await quiet(args)).code, text).toBe(2);
    }
  });

  it.each([
    ["NODE_DEBUG", "*"],
    ["NODE_DEBUG", "str*"],
    ["NODE_DEBUG", "fs,child_process"],
    ["NODE_DEBUG_NATIVE", "tls"],
    ["NODE_OPTIONS", "--heap-prof"],
  ])("does nothing where %s=%s would show what it reads", async (name, value) => {
    for (const args of [
      ["secret", "set", "values/x"],
      ["secret", "import", "-", "--prefix", "a/b"],
    ]) {
      const { code, stderr } = await quiet(args, `A=${CORE}`, { [name]: value });
      expect(code).toBe(2);
      expect(stderr).toContain("Refusing to start");
    }
    expect(readdirSync(work.path).filter((file) => !file.startsWith("Heap."))).toEqual([]);
  });

  it("leaves no core when it dies with a value in hand", async () => {
    const before = "ulimit -S -c unlimited";
    // It waits for the end of the value, which never comes.
    const child = launch(["secret", "set", "values/x"], { cwd: work.path, before });
    const end = finished(child);
    child.stdin?.write(CORE);
    const limits = (): string => readFileSync(`/proc/${child.pid}/limits`, "utf8");
    await expect.poll(limits).toMatch(/^Max core file size +0 /m);
    child.kill("SIGABRT");
    expectQuiet((await end).stderr, "standard error");
    expect(readdirSync(work.path)).toEqual([]);
  });
});

/** A program in the place of a vault's own: it prints a value, and the same where errors go, and may fail. */
const PROGRAM = `#!/bin/sh
cat "$1" >&2
case "$1" in *broken*) cat "$1"; exit 1;; *slow*) cat "$1"; sleep 60;; esac
cat "$1"
`;

const NAMES = Object.keys(VALUES);

/** One route for each value from each source, all of a wildcard host; and routes on which something fails. */
const prepare = (
  upstream: TestUpstream,
  closedPort: string,
): { hosts: string[]; environment: Record<string, string> } => {
  mkdirSync(work.at("keys"));
  for (const [name, value] of [...Object.entries(VALUES), ...Object.entries(REFUSED)])
    work.write(`keys/${name}`, value);
  for (const name of ["broken", "slow"]) work.write(`keys/${name}`, CORE);
  chmodSync(work.write("keys/program", PROGRAM), 0o755);
  const environment: Record<string, string> = { BAD_LINES: `${OWN_CORE}\nx` };
  for (const name of NAMES) environment[`KEY_${name}`] = (VALUES[name] ?? "").replace(CORE, OWN_CORE);
  const good = NAMES.flatMap((name) => [`local:values/${name}`, `files:${name}`, `program:${name}`, `own:KEY_${name}`]);
  const bad = [
    ...Object.keys(REFUSED).flatMap((name) => [`files:${name}`, `program:${name}`]),
    "own:BAD_LINES",
    "local:values/none",
    "program:broken",
    "hanging:slow",
    "files:quotes#token",
    "files:json#missing",
    "files:json#__proto__",
  ];
  const kinds = [
    "{ kind: bearer }",
    "{ kind: basic, username: user }",
    '{ kind: header, name: X-Key, format: "k={secret}" }',
    "{ kind: query, name: key }",
  ];
  const routes = [...good, ...bad].map((secret, n) => ({
    host: `h${n}.api.test`,
    secret,
    inject: kinds[n % kinds.length],
  }));
  // What the upstream does: it echoes, it answers with no HTTP, it is not there.
  const connect = [
    ...routes.map(({ host }) => `  "${host}:443": "${upstream.address}"`),
    `  "down.api.test:443": "${closedPort}"`,
    `  "garbage.api.test:443": "${upstream.address}"`,
  ];
  const lines = [
    ...routes.map(({ host, secret, inject }) => `  ${host}: { secret: "${secret}", inject: ${inject} }`),
    "  down.api.test: files:quotes",
    "  garbage.api.test: files:patterns",
  ];
  work.write(
    "sidekey.yaml",
    `version: 1
listen: { proxy: "127.0.0.1:0", health: "127.0.0.1:0" }
sources:
  local: { kind: local }
  files: { kind: file, root: ./keys }
  program: { kind: exec, command: [./program, "{path}"], timeout: 60s }
  hanging: { kind: exec, command: [./program, "{path}"], timeout: 1s }
  own: { kind: env }
routes:
${lines.join("\n")}
upstream:
  ca: ./ca.pem
  connect:
${connect.map((line) => `  ${line}`).join("\n")}
`.replaceAll("./program", work.at("keys/run")),
  );
  // In the directory of the file, but the values lie in another.
  chmodSync(work.write("keys/run", `#!/bin/sh\ncd ${work.at("keys")} && exec ./program "$1"\n`), 0o755);
  return { hosts: [...routes.map(({ host }) => host), "down.api.test", "garbage.api.test"], environment };
};

describe("a sidecar", () => {
  let upstream: TestUpstream;
  let authority: Awaited<ReturnType<typeof createTestAuthority>>;
  beforeAll(async () => {
    authority = await createTestAuthority();
    const tls = await authority.issue({ names: ["*.api.test"] });
    upstream = await startUpstream({
      tls,
      handler(received, response) {
        const echo = JSON.stringify([received.url, received.headers]);
        if (received.headers.host === "garbage.api.test") received.socket.end(`HTTP/1.1 ${echo}\r\n\r\n`);
        else response.writeHead(401, { "x-echo": encodeURIComponent(received.headers.authorization ?? "") }).end(echo);
      },
    });
  });
  afterAll(() => upstream.close());

  const ask = (running: Running, method: string, path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socketPath = String(running.ready["admin"]).slice("unix:".length);
      httpRequest({ socketPath, method, path, headers: { host: "sidekey" } }, (response) => {
        let text = `${response.statusCode} ${JSON.stringify(response.headers)} `;
        response.on("data", (chunk) => {
          text += String(chunk);
        });
        response.on("end", () => resolve(text));
      })
        .on("error", reject)
        .end();
    });

  it.each(["error", "warn", "info", "debug"])("says nothing of any of its secrets at level %s", async (level) => {
    const { hosts, environment } = prepare(upstream, "127.0.0.1:1");
    work.write("ca.pem", authority.certificatePem);
    const file = readFileSync(work.at("sidekey.yaml"), "utf8");
    await withVault(work.path, (vault) =>
      vault.secrets.importAll(
        NAMES.map((name) => ({ path: `values/${name}`, value: SecretValue.fromText(VALUES[name] ?? "") })),
      ),
    );
    const before = "ulimit -S -c unlimited";
    const running = await startSidekey(["--log-level", level], { cwd: work.path, environment, before });
    const said: string[] = [];
    const dispatcher = new ProxyAgent({
      uri: `http://${String(running.ready["proxy"])}`,
      requestTls: { ca: readFileSync(work.at(".sidekey/ca.pem"), "utf8") },
    });
    const call = async (host: string): Promise<number> => {
      const { statusCode, headers, body } = await request(`https://${host}/x`, { dispatcher });
      said.push(`${host} ${statusCode} ${JSON.stringify(headers)} ${await body.text()}`);
      return statusCode;
    };
    try {
      const statuses: number[] = [];
      // A few at a time: however busy the machine is, no source may seem to be too slow.
      for (let n = 0; n < hosts.length; n += 4) statuses.push(...(await Promise.all(hosts.slice(n, n + 4).map(call))));
      const good = NAMES.length * 4;
      // The upstream's own answer, for each value from each source; and no key without its check.
      expect(statuses.slice(0, good)).toEqual(new Array(good).fill(401));
      expect(statuses.slice(good, -2).every((status) => status === 503)).toBe(true);
      expect(statuses.slice(-2)).toEqual([502, 502]);
      for (const [method, path] of [
        ["GET", "/status"],
        ["GET", "/metrics"],
        ["GET", "/readyz"],
        ["GET", `/${CORE.toLowerCase()}`],
      ] as const) {
        said.push(await ask(running, method, path));
      }
      work.write("sidekey.yaml", `${file}  proxy: "${CORE}"\nlog: { level: "${CORE}" }\n`);
      said.push(await ask(running, "POST", "/reload"));
      expect(said.at(-1)).toMatch(/^422 /);
      work.write("sidekey.yaml", `${file}log: { level: ${level} }\n`);
      said.push(await ask(running, "POST", "/reload"));
      expect(said.at(-1)).toMatch(/^200 /);
      await Promise.all(hosts.slice(0, 8).map(call));
      const proc = (name: string): string => readFileSync(`/proc/${running.child.pid}/${name}`, "utf8");
      expectQuiet(proc("environ") + proc("cmdline"), "environment and arguments");
      expectQuiet(proc("cmdline"), "arguments", OWN_CORE);
      expect(proc("limits")).toMatch(/^Max core file size +0 /m);
    } catch (error) {
      running.child.kill("SIGKILL");
      throw error;
    } finally {
      await dispatcher.destroy();
    }
    const { code, stdout, stderr } = await running.stop(level === "debug" ? "SIGABRT" : "SIGTERM");
    expect(code).toBe(level === "debug" ? 134 : 0);
    said.push(stdout, stderr);
    for (const text of said) for (const core of [CORE, OWN_CORE]) expectQuiet(text, text.slice(0, 60), core);
    expectQuietFiles("keys/");
    expect(readdirSync(work.path).sort()).toEqual([".sidekey", "ca.pem", "keys", "sidekey.yaml"]);
  });

  const FAULTS = `
    const bad = Object.assign(new Error("${CORE}\\n    at x (/${CORE}:1:1)"), { name: "${CORE}", code: "${CORE}" });
    bad.cause = new TypeError("${CORE}");
    process.on("SIGWINCH", () => setTimeout(() => { throw bad; }, 1));
    process.on("SIGCONT", () => Promise.reject("${CORE}"));
    process.on("SIGPWR", () => Promise.reject(bad));
  `;

  it.each(["SIGWINCH", "SIGCONT", "SIGPWR"] as const)(
    "dies of a fault (%s) without its words, also at debug",
    async (signal) => {
      work.write("sidekey.yaml", 'version: 1\nlisten: { proxy: "127.0.0.1:0" }\n');
      const preload = work.write("faults.cjs", FAULTS);
      const running = await startSidekey([], {
        cwd: work.path,
        nodeArguments: ["--require", preload],
        environment: { SIDEKEY_LOG_LEVEL: "debug" },
      });
      const { code, stderr } = await running.stop(signal);
      expect(code).toBe(1);
      expect(stderr).toContain("sidekey: INTERNAL: Stopped by a fault that nothing handled.");
      expectQuiet(stderr, "standard error");
      expectQuietFiles("faults.cjs");
    },
  );
});

describe("a program of 'run'", () => {
  it("finds no secret in its environment, its arguments or its files, whatever the caller has", async () => {
    mkdirSync(work.at("keys"));
    const environment: Record<string, string> = { SIDEKEY_LOG_LEVEL: "debug", KEPT: "kept" };
    const routes = NAMES.map((name) => {
      work.write(`keys/${name}`, VALUES[name] ?? "");
      environment[`PLAIN_${name}`] = VALUES[name] ?? "";
      environment[`INSIDE_${name}`] = `https://user:${VALUES[name]}@example.test/?key=${VALUES[name]}`;
      return `  ${name}.api.test: { secret: "files:${name}", env: OWN_${name} }\n`;
    });
    work.write(
      "sidekey.yaml",
      `version: 1\nsources: { files: { kind: file, root: ./keys } }\nroutes:\n${routes.join("")}`,
    );
    const script =
      "cat /proc/self/environ /proc/self/cmdline /proc/$PPID/cmdline /proc/$PPID/limits; cat .sidekey/run/*/* .sidekey/*.log";
    const end = await work.sidekey(["run", "-v", "--", "sh", "-c", script], {
      environment,
      before: "ulimit -S -c unlimited",
    });
    expect(end.code).toBe(0);
    expect(end.stdout).toMatch(/^Max core file size +0 /m);
    expect(end.stdout).toContain("KEPT=kept");
    expect(end.stdout).toContain("OWN_quotes=sidekey-placeholder-");
    expect(end.stderr).toContain("PLAIN_quotes");
    expectQuiet(end.stdout + end.stderr, "output");
    expectQuietFiles("keys/");
  });
});
