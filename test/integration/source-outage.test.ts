/**
 * Sources that are down, slow, wrong or changing, behind a running sidecar (guarantees.md R1 to R6). Where a source answers
 * is a shell script's business here: flags beside it say how.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { Log } from "../../src/core/log.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { openVault } from "../../src/vault/index.ts";
import { openConnection, openTunnel } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { watchStalls, within } from "../support/stalls.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

const KEY = "canary-key-7a40c19be6d2f835";
const stalls = watchStalls();
afterAll(() => stalls.stop());

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Stage {
  readonly upstream: TestUpstream;
  readonly sidecar: TestSidecar;
  readonly logged: string[];
  /** Makes or removes files beside the program. */
  raise(flag: string, content?: string): void;
  lower(flag: string): void;
  /** Fetches so far. */
  readonly fetches: number;
  /** Status, code and Retry-After of one request. */
  ask(path?: string): Promise<[status: number, code: string | undefined, retryAfter: string | undefined]>;
}

const PROGRAM = `#!/bin/sh
echo x >> fetches
[ -e silent ] && [ "$1" != other ] && exec /bin/sleep 30
[ -e exit ] && exit "$(/bin/cat exit)"
/bin/cat "value-$1"
`;

const open = async (
  options: { policy?: string; flags?: Record<string, string>; field?: string; timeout?: string } = {},
): Promise<Stage> => {
  const upstream = await startUpstream();
  closers.push(() => upstream.close());
  const logged: string[] = [];
  const write = (message: string, fields?: unknown): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { error: write, warn: write, info: write, debug: write };
  const { policy = "max_age: 60s", field = "" } = options;
  const sidecar = await startTestSidecar({
    files: { program: PROGRAM, "value-key": KEY, "value-other": `${KEY}-other`, ...options.flags },
    prepare: async (directory) => chmodSync(join(directory, "program"), 0o700),
    start: { log },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
unmatched: tunnel
egress: { allow: ["127.0.0.0/8"] }
sources: { program: { kind: exec, command: [./program, "{path}"], timeout: ${options.timeout ?? "2s"} } }
routes:
  api: { match: "http://127.0.0.1:${upstream.port}/key/**", secret: "key${field}", ${policy} }
  other: { match: "http://127.0.0.1:${upstream.port}/other/**", secret: other, ${policy} }
upstream: { connect: { "open.test:443": "${upstream.address}" } }
`,
  });
  closers.push(() => sidecar.close());
  const at = (name: string): string => join(sidecar.directory, name);
  return {
    upstream,
    sidecar,
    logged,
    raise: (flag, content = "") => writeFileSync(at(flag), content),
    lower: (flag) => rmSync(at(flag), { force: true }),
    get fetches() {
      return existsSync(at("fetches")) ? readFileSync(at("fetches"), "utf8").length / 2 : 0;
    },
    ask: (path = "/key/") => ask(sidecar, `http://127.0.0.1:${upstream.port}${path}`),
  };
};

const ask = async (
  { port }: TestSidecar,
  url: string,
): Promise<[status: number, code: string | undefined, retryAfter: string | undefined]> => {
  const connection = await openConnection(port);
  connection.send(`GET ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\nConnection: close\r\n\r\n`);
  const { status, headers } = await connection.receive();
  connection.destroy();
  return [status, headers.get("x-sidekey-error")?.[0], headers.get("retry-after")?.[0]];
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("R1: a source that is down when the sidecar starts", () => {
  it("refuses its routes with Retry-After, leaves the rest alone, and serves within 2 s of its return", async () => {
    const stage = await open({ flags: { exit: "1" } });
    const end = performance.now() + 2_500;
    while (performance.now() < end) {
      expect(await stage.ask()).toEqual([503, "SOURCE_UNAVAILABLE", "2"]);
      await pause(20);
    }
    expect(stage.upstream.connections).toBe(0);
    const { response, connection } = await openTunnel(stage.sidecar.port, "open.test:443");
    expect(response.status).toBe(200);
    connection.destroy();

    stage.lower("exit");
    await within(stalls, 2_000 + 500, async () => (await stage.ask())[0] === 200);
    expect(stage.upstream.requests.map((request) => request.header("authorization"))).toEqual([[`Bearer ${KEY}`]]);
  });
});

describe("R2: a source that goes down in the middle", () => {
  it("is bridged without one error up to the bound, and with no request through after it", async () => {
    const early = performance.now();
    const stage = await open({ policy: "max_age: 1s, stale_while_error: 1s" });
    expect((await stage.ask())[0]).toBe(200);
    stage.raise("exit", "1");
    // The last good fetch was between the two.
    const late = performance.now();
    const seen: { asked: number; answered: number; status: number }[] = [];
    while (performance.now() - late < 3_500) {
      const asked = performance.now();
      const [status] = await stage.ask();
      seen.push({ asked, answered: performance.now(), status });
      await pause(5);
    }
    const statuses = seen.map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 503]));
    expect(statuses.slice(statuses.indexOf(503))).not.toContain(200);
    const BOUND = 2_000;
    expect(seen.filter(({ answered, status }) => answered < early + BOUND && status !== 200)).toEqual([]);
    expect(seen.filter(({ asked, status }) => asked > late + BOUND && status === 200)).toEqual([]);
    // Longer than the age that a good source has: it was bridged.
    expect(seen.some(({ asked, status }) => asked > late + 1_000 && status === 200)).toBe(true);
  });
});

describe("R3: a source that is slow", () => {
  it("is given up after its time, asked once for all, and holds up no route whose secret is known", async () => {
    const stage = await open({ timeout: "5s" });
    expect((await stage.ask("/other/"))[0]).toBe(200);
    stage.raise("silent");
    const before = stage.fetches;
    let answered = 0;
    const slow = Array.from({ length: 50 }, async () => {
      const result = await stage.ask();
      answered += 1;
      return result;
    });
    for (let i = 0; i < 50; i++) expect((await stage.ask("/other/"))[0]).toBe(200);
    expect(answered).toBe(0);
    expect(new Set((await Promise.all(slow)).map(([, code]) => code))).toEqual(new Set(["SOURCE_UNAVAILABLE"]));
    expect(stage.fetches - before).toBe(1);
    stage.lower("silent");
    await within(stalls, 2_500, async () => (await stage.ask())[0] === 200);
  });
});

describe("R4: a source that refuses", () => {
  it.each([
    ["is missing", "66", "SOURCE_SECRET_MISSING", 4],
    ["is forbidden", "77", "SOURCE_FORBIDDEN", 4],
    ["is down", "1", "SOURCE_UNAVAILABLE", 10],
  ])(
    "because the secret %s is asked seldom, however many requests come, and the operator is told once",
    async (_name, exit, code, most) => {
      const stage = await open({ flags: { exit } });
      const end = performance.now() + 3_000;
      while (performance.now() < end) {
        const answers = await Promise.all(Array.from({ length: 5 }, () => stage.ask()));
        expect(new Set(answers.map(([, found]) => found))).toEqual(new Set([code]));
      }
      expect(stage.fetches).toBeLessThanOrEqual(most);
      expect(stage.logged.filter((line) => line.startsWith("a secret cannot be fetched"))).toHaveLength(1);
    },
  );
});

describe("R5: a source that answers nonsense", () => {
  it.each([
    ["a document that is cut short", `{"token":"${KEY}`],
    ["a page", `<html><body>${KEY}</body></html>`],
    ["another document", `{"error":"${KEY}"}`],
    ["a field of the wrong type", `{"token":["${KEY}"]}`],
    ["a field with a line break", `{"token":"${KEY}\\r\\nX-Evil: 1"}`],
    ["far too much", `{"token":"${KEY.repeat(10_000)}"}`],
  ])("%s is not used and not shown, and the last good value serves up to its bound", async (_name, nonsense) => {
    const document = JSON.stringify({ token: KEY });
    const stage = await open({
      policy: "max_age: 300ms, stale_while_error: 1700ms",
      field: "#token",
      flags: { "value-key": document },
    });
    expect((await stage.ask())[0]).toBe(200);
    stage.raise("value-key", nonsense);
    await pause(500);
    expect((await stage.ask())[0]).toBe(200);
    // Its bound is 2 s from the fetch, of which half a second is over.
    await within(stalls, 2_000, async () => (await stage.ask())[0] !== 200);
    expect((await stage.ask()).slice(0, 2)).toEqual([503, "SOURCE_BAD_VALUE"]);
    const sent = stage.upstream.requests.map((request) => request.header("authorization"));
    expect(sent).toEqual(sent.map(() => [`Bearer ${KEY}`]));
    expect(stage.logged.join("\n")).not.toContain("canary");
  });
});

describe("R6: a secret that another process rotates under load", () => {
  it("is used in its newest version by every request that begins after the change", { timeout: 120_000 }, async () => {
    const path = "production/api/key";
    const upstream = await startUpstream();
    closers.push(() => upstream.close());
    const sidecar = await startTestSidecar({
      file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
routes: { api: { match: "http://127.0.0.1:${upstream.port}/**", secret: ${path} } }
`,
      async prepare(directory) {
        const vault = await openVault({
          directory: join(directory, ".sidekey/vault"),
          keys: { file: join(directory, ".sidekey/vault.key") },
          clock: systemClock,
        });
        await vault.secrets.set(path, SecretValue.fromText("canary-version-0"));
        await vault.close();
      },
    });
    closers.push(() => sidecar.close());
    const writer = spawn(
      process.execPath,
      [
        "--import",
        "tsx",
        new URL("../support/vault/vault-writer.ts", import.meta.url).pathname,
        join(sidecar.directory, ".sidekey"),
        path,
      ],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    const ended = once(writer, "exit");
    closers.push(async () => {
      writer.kill("SIGKILL");
      await ended;
    });
    const lines = createInterface({ input: writer.stdout })[Symbol.asyncIterator]();
    await lines.next();
    const tell = async (line: string): Promise<void> => {
      writer.stdin.write(`${line}\n`);
      await lines.next();
    };

    let begun = 0;
    let stored = 0;
    let over = false;
    const rotate = async (): Promise<void> => {
      // As many as make it worth while, however slow the machine.
      while (begun < 50 || asked <= 200) {
        begun += 1;
        await tell(`canary-version-${begun}`);
        stored = begun;
        await pause(100);
      }
      over = true;
    };
    const wrong: string[] = [];
    let asked = 0;
    const load = async (): Promise<void> => {
      const connection = await openConnection(sidecar.port);
      for (; !over; asked += 1) {
        const least = stored;
        const mark = `/${asked}-${Math.random()}`;
        connection.send(`GET ${upstream.origin}${mark} HTTP/1.1\r\nHost: ${upstream.address}\r\n\r\n`);
        const { status } = await connection.receive();
        const most = begun;
        const sent = upstream.requests.find((request) => request.path === mark)?.header("authorization")[0];
        const version = Number(/^Bearer canary-version-(\d+)$/.exec(sent ?? "")?.[1]);
        if (status !== 200 || !(version >= least && version <= most)) wrong.push(`${status} ${sent} ${least} ${most}`);
      }
      connection.destroy();
    };
    await Promise.all([rotate(), load(), load(), load(), load()]);
    expect(wrong).toEqual([]);
    expect(asked).toBeGreaterThan(200);
    await tell("rm");
    expect((await ask(sidecar, upstream.origin)).slice(0, 2)).toEqual([503, "SOURCE_SECRET_MISSING"]);
  });
});
