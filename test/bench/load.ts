/**
 * The load generator: N keep-alive TLS connections, one request in flight on each, as cheap as node:tls allows. A process of its own, so that it can be pinned to a core. It
 * verifies the certificate, the status and the length of every answer; the first answer that is not right ends it
 * with exit code 1. Never print a figure from a run with an error.
 */

import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { percentile, readCpuMicroseconds, readMemory } from "./measure.ts";

export interface LoadPlan {
  /** `forward`: CONNECT to `host:443` first; `direct`: TLS at once. */
  readonly mode: "forward" | "direct";
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

const fail = (message: string): never => {
  process.stderr.write(`load: ${message}\n`);
  process.exit(1);
};

const buildRequest = (host: string): Buffer =>
  Buffer.from(
    `GET /v1/models?limit=20 HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: sidekey-bench/1\r\nAccept: application/json\r\n` +
      "Authorization: Bearer not-the-key\r\nX-Client-Version: 2025-01-01\r\n\r\n",
    "latin1",
  );

/** A TCP connection, in `forward` mode with a CONNECT that was answered 200. */
const openTransport = (plan: LoadPlan): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port: plan.port, noDelay: true });
    socket.on("error", (error) => fail(`connection: ${error.message}`));
    socket.once("connect", () => {
      if (plan.mode === "direct") return resolve(socket);
      socket.write(`CONNECT ${plan.host}:443 HTTP/1.1\r\nHost: ${plan.host}:443\r\n\r\n`);
      let answer = "";
      socket.on("data", function onData(chunk: Buffer) {
        answer += chunk.toString("latin1");
        if (!answer.endsWith("\r\n\r\n")) return;
        if (!answer.startsWith("HTTP/1.1 200 ")) fail(`CONNECT was answered: ${answer}`);
        socket.off("data", onData);
        socket.pause();
        resolve(socket);
      });
    });
  });

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

const runConnection = async (plan: LoadPlan, ca: string, request: Buffer, tally: Tally): Promise<TLSSocket> => {
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
  const socket = connectTls({ socket: transport, servername: plan.host, ca });
  socket.on("data", (chunk: Buffer) => {
    if (isWhole(chunk)) onAnswer();
  });
  socket.on("error", (error) => fail(`TLS: ${error.message}`));
  socket.on("close", () => fail("the subject closed a connection"));
  socket.once("secureConnect", () => {
    started = performance.now();
    socket.write(request);
  });
  return socket;
};

const runLoad = async (plan: LoadPlan): Promise<LoadFigures> => {
  const tally: Tally = { measuring: false, answered: 0, requests: 0, latencies: new Float64Array(MAX_SAMPLES) };
  const request = buildRequest(plan.host);
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
