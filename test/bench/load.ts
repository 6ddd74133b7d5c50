/**
 * The load generator: N keep-alive TLS connections, one request in flight on each, as cheap as node:tls allows. A process of its own, so that it can be pinned to a core. It
 * verifies the certificate, the status and the length of every answer; the first answer that is not right ends it
 * with exit code 1. Never print a figure from a run with an error.
 */

import { readFileSync } from "node:fs";
import { connect as connectTls } from "node:tls";
import { fail, openTransport } from "./client.ts";
import { percentile, readCpuMicroseconds, readMemory } from "./measure.ts";

export interface LoadPlan {
  /** `forward`: CONNECT to `host:443` first; `direct`: TLS at once; `cleartext`: neither. */
  readonly mode: "forward" | "direct" | "cleartext";
  readonly port: number;
  readonly host: string;
  /** PEM file that the subject's certificate must chain to. */
  readonly ca: string;
  readonly connections: number;
  /** Before the window: this long, and until `warmRequests` were answered or a minute is over. */
  readonly warmSeconds: number;
  readonly warmRequests: number;
  readonly seconds: number;
  /** Bytes of a right answer's body. */
  readonly bodyLength: number;
  /** Default: a GET of a short path. */
  readonly path?: string;
  /** Of the Host header; default `host`. */
  readonly authority?: string;
  /** Bytes of a body to post; absent: a GET. */
  readonly uploadBytes?: number;
  /** Process whose CPU time and memory are read. */
  readonly pid: number;
}

export interface LoadFigures {
  readonly requests: number;
  /** Of the measured window. */
  readonly seconds: number;
  readonly rate: number;
  /** Milliseconds. */
  readonly medianLatency: number;
  /** Milliseconds. */
  readonly p99Latency: number;
  /** CPU time of the subject per request, microseconds. */
  readonly cpuPerRequest: number;
  /** Share of one core that the subject used, 0..1: under about 0.95 the rate is not the subject's limit. */
  readonly busy: number;
  /** MiB */
  readonly memory: number;
  /** MiB */
  readonly peakMemory: number;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const STATUS_OK = Buffer.from("HTTP/1.1 200");
/** Latencies kept; at 60,000 requests a second, over a minute. */
const MAX_SAMPLES = 4_000_000;
const MAX_WARM_MS = 60_000;

interface Tally {
  measuring: boolean;
  /** Answered since the start, measured or not. */
  answered: number;
  requests: number;
  readonly latencies: Float64Array;
}

const buildRequest = ({ host, authority = host, path = "/v1/models?limit=20", uploadBytes }: LoadPlan): Buffer => {
  const body = Buffer.alloc(uploadBytes ?? 0, "the quick brown fox ");
  const head =
    `${uploadBytes === undefined ? "GET" : "POST"} ${path} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: sidekey-bench/1\r\n` +
    "Accept: application/json\r\nAuthorization: Bearer not-the-key\r\nX-Client-Version: 2025-01-01\r\n" +
    `${uploadBytes === undefined ? "" : `Content-Type: text/plain\r\nContent-Length: ${uploadBytes}\r\n`}\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), body]);
};

/** Bytes of one answer, and whether it is whole and right. */
const createAnswerReader = (plan: LoadPlan) => {
  let pending: Buffer = Buffer.alloc(0);
  let expected = 0;
  let received = 0;

  const startAnswer = (chunk: Buffer): void => {
    const bytes = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const end = bytes.indexOf(HEAD_END);
    if (end === -1) {
      pending = Buffer.from(bytes);
      return;
    }
    pending = Buffer.alloc(0);
    const isOk = bytes.compare(STATUS_OK, 0, STATUS_OK.length, 0, STATUS_OK.length) === 0;
    const head = bytes.toString("latin1", 0, end);
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (!isOk || Number(length) !== plan.bodyLength) fail(`wrong answer: ${bytes.toString("latin1", 0, 600)}`);
    expected = end + HEAD_END.length + plan.bodyLength;
    received = bytes.length;
  };

  /** True when the answer ended with this chunk. */
  return (chunk: Buffer): boolean => {
    if (expected === 0) startAnswer(chunk);
    else received += chunk.length;
    if (expected === 0 || received < expected) return false;
    if (received > expected) fail("bytes after the end of an answer");
    expected = 0;
    return true;
  };
};

const runConnection = async (plan: LoadPlan, ca: string, request: Buffer, tally: Tally): Promise<void> => {
  const transport = await openTransport(plan);
  const isWhole = createAnswerReader(plan);
  let started = 0;
  const onAnswer = (): void => {
    const now = performance.now();
    tally.answered++;
    if (tally.measuring) tally.latencies[tally.requests++ % MAX_SAMPLES] = now - started;
    started = now;
    socket.write(request);
  };
  const isCleartext = plan.mode === "cleartext";
  const socket = isCleartext ? transport : connectTls({ socket: transport, servername: plan.host, ca });
  socket.on("data", (chunk: Buffer) => {
    if (isWhole(chunk)) onAnswer();
  });
  socket.on("error", (error) => fail(`TLS: ${error.message}`));
  socket.on("close", () => fail("the subject closed a connection"));
  const begin = (): void => {
    started = performance.now();
    socket.write(request);
  };
  if (isCleartext) begin();
  else socket.once("secureConnect", begin);
};

const runLoad = async (plan: LoadPlan): Promise<LoadFigures> => {
  const tally: Tally = { measuring: false, answered: 0, requests: 0, latencies: new Float64Array(MAX_SAMPLES) };
  const request = buildRequest(plan);
  const ca = readFileSync(plan.ca, "latin1");
  for (let index = 0; index < plan.connections; index++) await runConnection(plan, ca, request, tally);
  await wait(plan.warmSeconds);
  const warmUntil = performance.now() + MAX_WARM_MS;
  while (tally.answered < plan.warmRequests && performance.now() < warmUntil) await wait(0.05);

  const cpuBefore = readCpuMicroseconds(plan.pid);
  const begin = performance.now();
  tally.measuring = true;
  await wait(plan.seconds);
  tally.measuring = false;
  const seconds = (performance.now() - begin) / 1000;
  const cpu = readCpuMicroseconds(plan.pid) - cpuBefore;
  const { now, peak } = readMemory(plan.pid);

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
    busy: cpu / 1e6 / seconds,
    memory: now,
    peakMemory: peak,
  };
};

const wait = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const figures = await runLoad(JSON.parse(process.argv[2] ?? "") as LoadPlan);
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
