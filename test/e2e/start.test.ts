/** `sidekey start` as a supervisor sees it: one line when ready, an orderly end, and what it refuses to start with. */
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { createInterface } from "node:readline";
import { ProxyAgent, request } from "undici";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { API_URL, createApi } from "../support/api.ts";
import { finished, launch, logged, type Running, startSidekey } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const FILE = 'version: 1\nlisten: { proxy: "127.0.0.1:0" }\nroutes:\n  api.example.test: production/x/key\n';

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
  work.write("sidekey.yaml", FILE);
});
afterEach(() => work.remove());

const start = (args: readonly string[] = [], environment: Readonly<Record<string, string>> = {}) =>
  startSidekey(args, { cwd: work.path, environment });

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });

describe("start", () => {
  it("prints one ready line when its port is open, and ends with 0 at TERM", async () => {
    const running = await start();
    expect(Object.keys(running.ready)).toEqual(["pid", "proxy", "gateway", "health", "admin"]);
    const admin = `unix:${work.at(".sidekey/admin.sock")}`;
    expect(running.ready).toMatchObject({ pid: running.child.pid, gateway: null, health: null, admin });
    const port = Number(String(running.ready["proxy"]).split(":")[1]);
    expect(await isOpen(port)).toBe(true);
    const { code, stdout } = await running.stop();
    expect(code).toBe(0);
    expect(stdout).toBe(`sidekey ready ${JSON.stringify(running.ready)}\n`);
    expect(await isOpen(port)).toBe(false);
  });

  it("ends with 0 at INT as well, and logs JSON lines on standard error alone", async () => {
    const running = await start(["--log-level", "info"]);
    const { code, stderr } = await running.stop("SIGINT");
    expect(code).toBe(0);
    const lines = stderr.trim().split("\n");
    expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({ msg: "stopping", signal: "SIGINT" });
  });

  it("logs no more than it is told to", async () => {
    expect((await (await start(["--log-level", "error"])).stop()).stderr).toBe("");
    expect((await (await start([], { SIDEKEY_LOG_LEVEL: "error" })).stop()).stderr).toBe("");
  });

  describe("with a request in flight", () => {
    const withCall = async (
      use: (parts: { running: Running; answer: () => void; call: Promise<string> }) => Promise<void>,
    ): Promise<void> => {
      // The upstream answers when it is told to, and not before.
      let arrived: (answer: () => void) => void = () => {};
      const asked = new Promise<() => void>((resolve) => {
        arrived = resolve;
      });
      const api = await createApi((_, response) => arrived(() => void response.end("late")));
      const running = await startSidekey([], { cwd: api.work.path });
      const requestTls = { ca: readFileSync(api.work.at(".sidekey/ca.pem"), "utf8") };
      const dispatcher = new ProxyAgent({ uri: `http://${running.ready["proxy"]}`, requestTls });
      try {
        const call = request(API_URL, { dispatcher })
          .then(({ body }) => body.text())
          .catch(() => "cut off");
        const stopping = logged(running.child, "stopping");
        const answer = await asked;
        running.child.kill("SIGTERM");
        await stopping;
        await use({ running, answer, call });
      } finally {
        running.child.kill("SIGKILL");
        await dispatcher.destroy();
        await api.close();
      }
    };

    it("waits for its end after the first signal", () =>
      withCall(async ({ running, answer, call }) => {
        answer();
        expect(await call).toBe("late");
        expect((await running.end).code).toBe(0);
      }));

    it("ends at once at the second signal", () =>
      withCall(async ({ running, call }) => {
        expect((await running.stop("SIGTERM")).code).toBe(143);
        expect(await call).toBe("cut off");
      }));
  });

  it("opens no inspector at USR1, and goes on", async () => {
    const running = await start();
    running.child.kill("SIGUSR1");
    const port = Number(String(running.ready["proxy"]).split(":")[1]);
    expect(await isOpen(port)).toBe(true);
    const { code, stderr } = await running.stop();
    expect(code).toBe(0);
    expect(stderr).not.toMatch(/debugger/i);
  });

  it("reads its file again at HUP, and goes on", async () => {
    const running = await start();
    const told = logged(running.child, "the file was read again");
    running.child.kill("SIGHUP");
    expect(await told).toMatchObject({ generation: 2, trigger: "signal" });
    expect((await running.stop()).code).toBe(0);
  });

  it("is followed by `audit tail -f`", async () => {
    await (await start()).stop();
    const follower = launch(["audit", "tail", "-f", "-n", "0", "--json"], { cwd: work.path });
    const end = finished(follower);
    const types: string[] = [];
    createInterface({ input: follower.stdout ?? process.stdin }).on("line", (line) =>
      types.push(JSON.parse(line).type),
    );
    // More than once: one that began before the follower watched would be among the records that were there.
    const hasFollowed = (): boolean => types.join().endsWith("start,stop");
    while (!hasFollowed()) await (await start()).stop();
    follower.kill("SIGINT");
    expect((await end).code).toBe(130);
  });

  it("makes a CA that `ca print` prints", async () => {
    await (await start()).stop();
    expect(statSync(work.at(".sidekey/ca.key")).mode & 0o777).toBe(0o600);
    const text = await work.sidekey(["ca", "print"]);
    expect(text).toMatchObject({ code: 0, stderr: "" });
    expect(text.stdout).toMatch(/^-----BEGIN CERTIFICATE-----\n[\s\S]*\n-----END CERTIFICATE-----\n$/);
    const json = JSON.parse((await work.sidekey(["ca", "print", "--json"])).stdout);
    expect(json.path).toBe(work.at(".sidekey/ca.pem"));
    expect(json.pem.trim()).toBe(text.stdout.trim());
    expect(json.sha256).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  });

  it("leaves an audit that verifies, and tail shows", async () => {
    await (await start()).stop();
    const verdict = await work.sidekey(["audit", "verify"]);
    expect(verdict).toEqual({
      code: 0,
      stdout: `${work.at(".sidekey/audit.jsonl")}: intact, 2 records (1 to 2)\n`,
      stderr: "",
    });
    expect((await work.sidekey(["audit", "tail"])).stdout).toMatch(/default {2}start\b.*\n.*default {2}stop\n$/);
    const lines = (await work.sidekey(["audit", "tail", "-n", "1", "--json"])).stdout.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).type)).toEqual(["stop"]);
  });

  it("is told by `audit verify` when somebody changed a record", async () => {
    await (await start()).stop();
    const path = work.at(".sidekey/audit.jsonl");
    writeFileSync(path, readFileSync(path, "utf8").replace('"type":"start"', '"type":"stort"'));
    const verdict = await work.sidekey(["audit", "verify"]);
    expect(verdict.code).toBe(1);
    expect(verdict.stdout).toContain("BROKEN at record 1.");
    const json = await work.sidekey(["audit", "verify", "--json"]);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, logs: [{ ok: false, bad: 1 }] });
  });
});

describe("start refuses", () => {
  const refused = async (
    args: readonly string[],
    options: { environment?: Record<string, string>; node?: string[] } = {},
  ) => {
    const { environment = {}, node = [] } = options;
    return work.sidekey(["start", ...args], { environment, nodeArguments: node });
  };

  it.each(["--inspect=0", "--heapsnapshot-signal=SIGUSR2", "--report-on-signal", "--insecure-http-parser"])(
    "%s, given to node or in NODE_OPTIONS",
    async (flag) => {
      const given = await refused([], { node: [flag] });
      expect(given).toMatchObject({ code: 2, stdout: "" });
      expect(given.stderr).toContain("Refusing to start: --");
      const inherited = await refused([], { environment: { NODE_OPTIONS: flag } });
      expect(inherited).toMatchObject({ code: 2, stdout: "" });
      expect(inherited.stderr).toContain("in NODE_OPTIONS");
    },
  );

  it("NODE_TLS_REJECT_UNAUTHORIZED=0", async () => {
    const result = await refused([], { environment: { NODE_TLS_REJECT_UNAUTHORIZED: "0" } });
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("upstream.ca");
  });

  it("a port that is taken, and says which", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    work.write("sidekey.yaml", FILE.replace("127.0.0.1:0", `127.0.0.1:${port}`));
    const result = await refused([]);
    other.close();
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain(`127.0.0.1:${port} (EADDRINUSE)`);
  });

  it("a second start on the same audit file, naming the first", async () => {
    const running = await start();
    const second = await refused([]);
    await running.stop();
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toContain("sidekey: AUDIT_LOCKED: ");
    expect(second.stderr).toContain(String(running.ready["pid"]));
  });

  it.each([["loud"], ["trace"]])("--log-level %s", async (level) => {
    const result = await refused(["--log-level", level]);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("error, warn, info, debug");
  });

  it("a file with problems, all told", async () => {
    work.write("sidekey.yaml", "version: 1\nagnt: x\nstat: y\n");
    const result = await refused([]);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toMatch(/:2:1 agnt: [\s\S]*:3:1 stat: /);
    expect(result.stderr).toContain("sidekey check");
  });
});
