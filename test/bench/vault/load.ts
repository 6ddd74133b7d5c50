/**
 * The load on a vault: N keep-alive connections, one request in flight on each, one request of a list after the other. A
 * process of its own, so that it can be pinned to a core. It looks at every answer; the first that is not right ends it
 * with exit code 1. Its plan is a file, because there are tokens in it.
 */
import { createHash, createPrivateKey, createPublicKey, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { fail, openTransport } from "../client.ts";
import { percentile, readCpuMicroseconds, readFamilyCpuMicroseconds, readMemory } from "../measure.ts";

export interface Exchange {
  readonly method: string;
  /** One is sent after the other, over all connections. */
  readonly requests: readonly { readonly path: string; readonly body?: unknown }[];
  readonly headers: Readonly<Record<string, string>>;
  readonly status: number;
  /** Stands in the body of every right answer. */
  readonly contains: string;
  /** A proof of possession (RFC 9449) goes with each request. */
  readonly proof?: { readonly keyPem: string; readonly token: string };
}

export interface VaultLoadPlan {
  readonly port: number;
  readonly connections: number;
  /** Before the window: this long, and until `warmRequests` were answered or a minute is over. */
  readonly warmSeconds: number;
  readonly warmRequests: number;
  readonly seconds: number;
  /** Whose CPU time and memory are read. */
  readonly pid: number;
  /** Of the database, with all it starts; absent: none. */
  readonly databasePid?: number | undefined;
  readonly exchange: Exchange;
}

export interface VaultLoadFigures {
  readonly requests: number;
  readonly seconds: number;
  readonly rate: number;
  /** Milliseconds. */
  readonly medianLatency: number;
  readonly p99Latency: number;
  /** CPU time of the vault per request, microseconds. */
  readonly cpuPerRequest: number;
  /** CPU time of the database per request, microseconds; 0 without one. */
  readonly databaseCpuPerRequest: number;
  /** Share of one core that the vault used. */
  readonly busy: number;
  /** MiB */
  readonly memory: number;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const MAX_WARM_MS = 60_000;
const MAX_SAMPLES = 2_000_000;
/** Proofs made before the first request, so that making them takes nothing from the load. Older ones are too old. */
const PROOFS_AHEAD = 20_000;

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

const createProofs = ({ keyPem, token }: NonNullable<Exchange["proof"]>, method: string, url: string) => {
  const key = createPrivateKey(keyPem);
  const { kty, crv, x, y } = createPublicKey(key).export({ format: "jwk" });
  const header = encode({ typ: "dpop+jwt", alg: "ES256", jwk: { kty, crv, x, y } });
  const ath = createHash("sha256").update(token).digest("base64url");
  const make = (): string => {
    const claims = { jti: randomBytes(16).toString("base64url"), htm: method, htu: url, iat: nowSeconds(), ath };
    const text = `${header}.${encode(claims)}`;
    return `${text}.${sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
  };
  const ahead = Array.from({ length: PROOFS_AHEAD }, make);
  return (): string => ahead.pop() ?? make();
};

const nowSeconds = (): number => Math.floor(Date.now() / 1000);

/** Gives one request after the other. */
const createRequests = (exchange: Exchange, port: number): (() => Buffer) => {
  const { method, headers, proof, requests } = exchange;
  const host = `127.0.0.1:${port}`;
  const texts = requests.map(({ path, body }) => {
    const payload = body === undefined ? "" : JSON.stringify(body);
    const lines = [`${method} ${path} HTTP/1.1`, `Host: ${host}`, ...Object.entries(headers).map((e) => e.join(": "))];
    if (body !== undefined) lines.push("Content-Type: application/json", `Content-Length: ${payload.length}`);
    return [lines.join("\r\n"), `\r\n\r\n${payload}`] as const;
  });
  let next = 0;
  if (proof === undefined) {
    const whole = texts.map(([head, rest]) => Buffer.from(head + rest, "latin1"));
    return () => whole[next++ % whole.length] as Buffer;
  }
  const url = `http://${host}${requests[0]?.path ?? ""}`;
  const makeProof = createProofs(proof, method, url);
  return () => {
    const [head, rest] = texts[next++ % texts.length] as (typeof texts)[number];
    return Buffer.from(`${head}\r\nDPoP: ${makeProof()}${rest}`, "latin1");
  };
};

/** Tells when an answer is whole; ends the program where it is wrong. */
const createAnswerReader = ({ status, contains }: Exchange) => {
  let pending: Buffer = Buffer.alloc(0);
  return (chunk: Buffer): boolean => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const end = pending.indexOf(HEAD_END);
    if (end === -1) return false;
    const head = pending.toString("latin1", 0, end);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? (status === 204 ? 0 : Number.NaN));
    const whole = end + HEAD_END.length + length;
    if (pending.length < whole) return false;
    const isRight = head.startsWith(`HTTP/1.1 ${status} `) && pending.includes(contains, end);
    if (!isRight || pending.length > whole) fail(`wrong answer: ${pending.toString("latin1", 0, 800)}`);
    pending = Buffer.alloc(0);
    return true;
  };
};

interface Tally {
  measuring: boolean;
  answered: number;
  requests: number;
  readonly latencies: Float64Array;
}

const runConnection = async (plan: VaultLoadPlan, next: () => Buffer, tally: Tally): Promise<void> => {
  const socket = await openTransport({ mode: "cleartext", port: plan.port, host: "127.0.0.1" });
  const isWhole = createAnswerReader(plan.exchange);
  let started = performance.now();
  socket.on("data", (chunk: Buffer) => {
    if (!isWhole(chunk)) return;
    const now = performance.now();
    tally.answered++;
    if (tally.measuring) tally.latencies[tally.requests++ % MAX_SAMPLES] = now - started;
    const request = next();
    started = performance.now();
    socket.write(request);
  });
  socket.on("close", () => fail("the vault closed a connection"));
  socket.write(next());
};

const runLoad = async (plan: VaultLoadPlan): Promise<VaultLoadFigures> => {
  const { pid, databasePid } = plan;
  const tally: Tally = { measuring: false, answered: 0, requests: 0, latencies: new Float64Array(MAX_SAMPLES) };
  const next = createRequests(plan.exchange, plan.port);
  for (let index = 0; index < plan.connections; index++) await runConnection(plan, next, tally);
  await wait(plan.warmSeconds);
  const warmUntil = performance.now() + MAX_WARM_MS;
  while (tally.answered < plan.warmRequests && performance.now() < warmUntil) await wait(0.05);

  const cpuBefore = readCpuMicroseconds(pid);
  const databaseBefore = databasePid === undefined ? 0 : readFamilyCpuMicroseconds(databasePid);
  const begin = performance.now();
  tally.measuring = true;
  await wait(plan.seconds);
  tally.measuring = false;
  const seconds = (performance.now() - begin) / 1000;
  const cpu = readCpuMicroseconds(pid) - cpuBefore;
  const databaseCpu = databasePid === undefined ? 0 : readFamilyCpuMicroseconds(databasePid) - databaseBefore;

  const { requests } = tally;
  if (requests === 0) fail("no request was answered");
  const latencies = tally.latencies.subarray(0, Math.min(requests, MAX_SAMPLES)).sort();
  return {
    requests,
    seconds,
    rate: requests / seconds,
    medianLatency: percentile(latencies, 0.5),
    p99Latency: percentile(latencies, 0.99),
    cpuPerRequest: cpu / requests,
    databaseCpuPerRequest: databaseCpu / requests,
    busy: cpu / 1e6 / seconds,
    memory: readMemory(pid).now,
  };
};

const wait = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const figures = await runLoad(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as VaultLoadPlan);
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
