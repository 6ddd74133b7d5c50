/**
 * The stage of the attack suite, and what must be true after every test on it (guarantees.md section 1): nothing leaks
 * (O1, O4), no credential goes anywhere but where its route says (O2), the upstream's own strict parser and the audit
 * tell the same story one to one (O3), a refusal sent nothing (O5), and sockets go back to where they were (O6).
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { Log } from "../../src/core/log.ts";
import { createTestAuthority } from "./certificates.ts";
import { leaksOf } from "./leaks.ts";
import { openConnection, openTlsTunnel, type RawConnection } from "./raw-client.ts";
import { startTestSidecar, type TestSidecar } from "./sidecar.ts";
import {
  type StrictRequest,
  type StrictUpstream,
  type StrictUpstreamOptions,
  startStrictUpstream,
} from "./strict-upstream.ts";

/** One key for each upstream, so that a mix-up shows. */
export const CANARIES = {
  api: "canary-api-3f9a61d07be24c55",
  other: "canary-other-82b1f4c09d7e6a3b",
  plain: "canary-plain-c4d75e9021fa8b66",
} as const;

type Name = keyof typeof CANARIES;

export interface Stage {
  readonly sidecar: TestSidecar;
  /** Behind `https://api.test`, whose `/forbidden/**` and DELETE are denied. */
  readonly api: StrictUpstream;
  /** Behind `https://other.test`, `https://api.test:8443` and `https://127.0.0.1:9443`, with another key. */
  readonly other: StrictUpstream;
  /** Behind `http://plain.test`. */
  readonly plain: StrictUpstream;
  /** To the proxy's port. */
  connect(): Promise<RawConnection>;
  /** CONNECT and TLS. */
  tunnel(authority?: string, options?: { servername?: string }): Promise<RawConnection>;
  /** What is open now is no growth: for stages that were opened before another one. */
  rebase(): void;
  /** The oracles, for everything since the last check. Ends every connection. */
  check(): Promise<void>;
  close(): Promise<void>;
}

export interface StageOptions {
  /** A line of the file. */
  readonly limits?: string;
  /** How the upstream of `https://api.test` answers. */
  readonly api?: Omit<StrictUpstreamOptions, "tls">;
  /** `host:port` to connect to instead of the upstream of `https://api.test`; it must show `certificate`. */
  readonly between?: (upstream: StrictUpstream, certificate: { cert: string; key: string }) => Promise<string>;
}

export const openStage = async (options: StageOptions = {}): Promise<Stage> => {
  const authority = await createTestAuthority();
  const certificate = await authority.issue({ names: ["api.test", "other.test"], ips: ["127.0.0.1"] });
  const upstreams: Readonly<Record<Name, StrictUpstream>> = {
    api: await startStrictUpstream({ ...options.api, ...(options.between === undefined && { tls: certificate }) }),
    other: await startStrictUpstream({ tls: certificate }),
    plain: await startStrictUpstream(),
  };
  const apiAddress = (await options.between?.(upstreams.api, certificate)) ?? upstreams.api.address;
  const logged: string[] = [];
  const resolved: string[] = [];
  const write = (message: string, fields?: unknown): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { error: write, warn: write, info: write, debug: write };
  const sidecar = await startTestSidecar({
    environment: { API_KEY: CANARIES.api, OTHER_KEY: CANARIES.other, PLAIN_KEY: CANARIES.plain },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
agent: tester
listen: { proxy: "127.0.0.1:0" }
${options.limits ?? ""}
sources: { env: { kind: env } }
routes:
  api: { match: "https://api.test/**", secret: API_KEY, deny: ["DELETE **", "* /forbidden/**"] }
  alt: { match: "https://api.test:8443/**", secret: OTHER_KEY, inject: { kind: header, name: X-Api-Key } }
  other: { match: "https://other.test/**", secret: OTHER_KEY, inject: { kind: header, name: X-Api-Key } }
  address: { match: "https://127.0.0.1:9443/**", secret: OTHER_KEY, inject: { kind: header, name: X-Api-Key } }
  plain: { match: "http://plain.test/**", secret: PLAIN_KEY }
upstream:
  ca: ./ca.pem
  connect:
    "api.test:443": "${apiAddress}"
    "api.test:8443": "${upstreams.other.address}"
    "other.test:443": "${upstreams.other.address}"
    "127.0.0.1:9443": "${upstreams.other.address}"
    "plain.test:80": "${upstreams.plain.address}"
`,
    start: {
      log,
      // Every name that routes allow is mapped above: nothing else may ever be looked up.
      resolve: (name, _options, callback) => {
        resolved.push(name);
        callback(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []);
      },
    },
  });

  const connections = new Set<RawConnection>();
  const keep = (connection: RawConnection): RawConnection => {
    connections.add(connection);
    return connection;
  };
  const ledger = createLedger(sidecar, upstreams);

  const stage: Stage = {
    sidecar,
    ...upstreams,
    connect: async () => keep(await openConnection(sidecar.port)),
    tunnel: async (name = "api.test:443", tls = {}) => keep(await openTlsTunnel(sidecar.port, name, sidecar.ca, tls)),
    rebase() {
      baseline = openDescriptors();
    },
    async check() {
      for (const connection of connections) connection.destroy();
      await ledger.settle();
      for (const upstream of Object.values(upstreams)) upstream.dropConnections();

      for (const { transcript } of connections) {
        for (const canary of Object.values(CANARIES)) {
          expect(leaksOf(transcript, Buffer.from(canary)), "O1: what an agent received").toEqual([]);
        }
      }
      connections.clear();
      for (const name of Object.keys(CANARIES) as Name[]) {
        const transcript = upstreams[name].transcript();
        for (const [owner, canary] of Object.entries(CANARIES)) {
          if (owner !== name) expect(transcript.includes(canary), `O2: ${owner}'s key at ${name}`).toBe(false);
        }
      }
      expect(resolved, "O2: names that were looked up").toEqual([]);
      expect(ledger.differences(), "O3, O5: what the upstreams read against what the audit says").toEqual([]);
      const quiet = [logged.join("\n"), ...filesBelow(sidecar.directory)].join("\n");
      for (const canary of Object.values(CANARIES)) {
        expect(leaksOf(Buffer.from(quiet.includes(canary) ? quiet : ""), Buffer.from(canary)), "O4").toEqual([]);
      }
      const now = await until(openDescriptors, (count) => count <= baseline, 20_000);
      expect(now, "O6: open files and sockets").toBeLessThanOrEqual(baseline);
    },
    async close() {
      await sidecar.close();
      for (const upstream of Object.values(upstreams)) await upstream.close();
    },
  };

  // What is opened once and kept (caches, lazily made handles) is no growth.
  const first = await stage.tunnel();
  first.send("GET /first HTTP/1.1\r\nHost: api.test\r\n\r\n");
  await first.receive();
  for (const connection of connections) connection.destroy();
  await ledger.settle();
  ledger.differences();
  for (const upstream of Object.values(upstreams)) upstream.dropConnections();
  let baseline = Number.POSITIVE_INFINITY;
  await until(
    () => upstreams.api.open,
    (count) => count === 0,
    20_000,
  );
  // The other ends close in the turns that follow.
  await new Promise((resolve) => setTimeout(resolve, 50));
  baseline = openDescriptors();
  return stage;
};

/** What `probe` says once it is `done`, or at last. */
const until = async <T>(probe: () => T | Promise<T>, done: (value: T) => boolean, timeoutMs: number): Promise<T> => {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (done(value) || performance.now() > end) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

/** Files and TCP sockets of this process; what the test runner opens besides (pipes, epoll) is not counted. */
const openDescriptors = (): number => {
  const tcp = ["tcp", "tcp6"].map((name) => readFileSync(`/proc/self/net/${name}`, "utf8")).join("\n");
  const inodes = new Set(tcp.split("\n").map((line) => line.trim().split(/\s+/)[9]));
  return readdirSync("/proc/self/fd").filter((descriptor) => {
    const target = linkTarget(`/proc/self/fd/${descriptor}`);
    const [, inode] = /^socket:\[(\d+)\]$/.exec(target) ?? [];
    return inode === undefined ? target.startsWith("/") : inodes.has(inode);
  }).length;
};

/** Empty for one that was closed since it was listed. */
const linkTarget = (path: string): string => {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
};

const filesBelow = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"));

interface Intent {
  readonly id: string;
  readonly attempt: number;
  readonly key: string;
  outcome: string | undefined;
  status: number | undefined;
  bytesUp: number;
}

/** Where each upstream stands, whatever a request says. */
const PLACES: Readonly<Record<Name, { scheme: string; header: string; value: string; hosts: readonly string[] }>> = {
  api: { scheme: "https", header: "authorization", value: `Bearer ${CANARIES.api}`, hosts: ["api.test"] },
  other: {
    scheme: "https",
    header: "x-api-key",
    value: CANARIES.other,
    hosts: ["other.test", "api.test:8443", "127.0.0.1:9443"],
  },
  plain: { scheme: "http", header: "authorization", value: `Bearer ${CANARIES.plain}`, hosts: ["plain.test"] },
};

const MAX_AUDIT_PATH = 2048;

/** Looks in a row, 10 ms apart, that found no new record. */
const QUIET_LOOKS = 3;

/** What went out since the last look, told by the upstreams and told by the audit. */
const createLedger = (sidecar: TestSidecar, upstreams: Readonly<Record<Name, StrictUpstream>>) => {
  let seenRecords = 0;
  let readRecords = 0;
  const seenRequests: Record<Name, number> = { api: 0, other: 0, plain: 0 };
  let intents: Intent[] = [];
  let problems: string[] = [];

  const read = async (): Promise<void> => {
    const all = await sidecar.audit();
    readRecords = all.length;
    const byId = new Map<string, Intent>();
    intents = [];
    problems = [];
    const refused = new Set<unknown>();
    for (const record of all.slice(seenRecords)) {
      const request = String(record["request_id"]);
      const attempt = Number(record["attempt"] ?? 1);
      const id = `${request} ${attempt}`;
      if (record["type"] === "intent") {
        if (byId.has(id)) problems.push(`two intents for ${id}`);
        const first = byId.get(`${request} 1`);
        if (attempt !== 1 && (attempt !== 2 || first === undefined)) problems.push(`attempt ${attempt} of ${request}`);
        const key = `${record["method"]} ${record["scheme"]}://${record["authority"]}${record["path"]}`;
        if (attempt === 2 && first?.key !== key) problems.push(`repeated as something else: ${key}`);
        const intent: Intent = { id: request, attempt, key, outcome: undefined, status: undefined, bytesUp: 0 };
        byId.set(id, intent);
        intents.push(intent);
      } else if (record["type"] === "outcome") {
        const intent = byId.get(id);
        if (intent === undefined) problems.push(`an outcome without an intent: ${JSON.stringify(record)}`);
        else {
          intent.outcome = String(record["outcome"]);
          intent.status = Number(record["status"]);
          intent.bytesUp = Number(record["bytes_up"] ?? 0);
        }
      } else if (record["type"] === "refusal") refused.add(request);
    }
    for (const { id, attempt } of intents) {
      const first = byId.get(`${id} 1`);
      if (attempt === 2 && (first?.outcome !== "ok" || first.status !== 401))
        problems.push(`repeated without a 401: ${id}`);
    }
    for (const { id, key } of intents) if (refused.has(id)) problems.push(`refused, and yet sent: ${key}`);
  };

  return {
    /** Waits until every exchange has ended, and what clients who left had sent before has become records too. */
    async settle(): Promise<void> {
      let quietLooks = 0;
      const waiting = async (): Promise<string[]> => {
        const before = readRecords;
        await read();
        quietLooks = readRecords === before ? quietLooks + 1 : 0;
        return intents.filter(({ outcome }) => outcome === undefined).map(({ key }) => key);
      };
      const left = await until(waiting, (keys) => keys.length === 0 && quietLooks >= QUIET_LOOKS, 8_000);
      expect(left, "intents without an outcome").toEqual([]);
      // As far as was read, and no further: an intent in between would be lost, and its outcome then seem without one.
      seenRecords = readRecords;
    },
    differences(): string[] {
      const open = new Set(intents);
      for (const name of Object.keys(upstreams) as Name[]) {
        const upstream = upstreams[name];
        problems.push(...upstream.violations.map((text) => `${name}: ${text}`));
        problems.push(...upstream.leftovers().map((text) => `${name}, bytes of no request: ${text}`));
        const fresh = upstream.requests.slice(seenRequests[name]);
        seenRequests[name] = upstream.requests.length;
        for (const request of fresh) {
          problems.push(...judge(request, name));
          const key = `${request.method} ${urlOf(request, name)}`;
          const same = [...open].filter((intent) => intent.key === key);
          const fitting = same.filter((intent) => agrees(intent, request));
          const match = fitting.find(({ outcome }) => outcome === "ok") ?? fitting[0];
          if (match !== undefined) open.delete(match);
          else problems.push(`${name} got ${key} (${outline(request)}); the audit has ${JSON.stringify(same)}`);
        }
      }
      for (const { key, outcome } of open)
        if (outcome === "ok") problems.push(`on record as sent, but not got: ${key}`);
      return problems;
    },
  };
};

const outline = ({ complete, body }: StrictRequest): string => `${complete ? "whole" : "cut"}, ${body.length} bytes`;

const agrees = ({ outcome, bytesUp }: Intent, { complete, answeredEarly, body }: StrictRequest): boolean => {
  if (outcome !== "ok") return true;
  // An exchange may end well before its upload only when the upstream chose to answer early.
  return complete ? bytesUp === body.length : answeredEarly;
};

const urlOf = (request: StrictRequest, name: Name): string => {
  const { scheme } = PLACES[name];
  const [host = ""] = request.header("host");
  const port = host.includes(":") ? "" : scheme === "https" ? ":443" : ":80";
  return `${scheme}://${host}${port}${request.path.slice(0, MAX_AUDIT_PATH)}`;
};

/** Header a client of these tests may set to say what body it meant to send. */
const BODY_HASH = "x-body-sha256";

export const bodyHash = (body: string | Buffer): string => createHash("sha256").update(body).digest("hex");

const judge = (request: StrictRequest, name: Name): string[] => {
  const problems: string[] = [];
  const place = PLACES[name];
  const blame = (text: string): void => void problems.push(`${name}: ${text}: ${JSON.stringify(request.head)}`);
  const values = request.headers.filter(([one]) => fold(one) === place.header).map(([, value]) => value);
  if (values.length !== 1 || values[0] !== place.value) blame("not exactly one credential");
  if (request.headers.filter(([, value]) => value.includes("canary")).length > 1) blame("a credential too many");
  if (!place.hosts.includes(request.header("host")[0] ?? "")) blame("the Host of another");
  if (request.servername !== undefined && request.servername !== request.header("host")[0]?.split(":")[0]) {
    blame(`a TLS name ${request.servername}`);
  }
  if (name === "api" && (request.method === "DELETE" || isForbidden(request.path))) blame("what policy denies");
  const [hash] = request.header(BODY_HASH);
  if (hash !== undefined && request.complete && hash !== bodyHash(request.body)) blame("another body than was sent");
  return problems;
};

const fold = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "-");

/** Whether any server, however generous, could read this path as one below /forbidden. Shares no code with policy. */
export const isForbidden = (path: string): boolean => {
  let reading = path;
  for (let round = 0; round < 6; round++) {
    const plain: string[] = [];
    for (const segment of reading.replaceAll("\\", "/").split("/")) {
      const name = segment.replace(/;.*$/s, "");
      if (name === "..") plain.pop();
      else if (name !== "" && name !== ".") plain.push(name);
    }
    if (plain[0] === "forbidden") return true;
    reading = reading.replace(/%([0-9a-f]{2})/gi, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 16)),
    );
  }
  return false;
};
