/** New connections to a subject, each with one request and its whole answer, several at once. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, createSecureContext } from "node:tls";
import { fail, openTransport } from "../client.ts";
import { percentile, readCpuMicroseconds } from "../measure.ts";

interface ConnectionsPlan {
  readonly mode: "forward" | "direct";
  readonly port: number;
  readonly ca: string;
  readonly pid: number;
  /** Taken in turn. */
  readonly hosts: readonly string[];
  readonly parallel: number;
  /** Whether a connection offers the session of the one before. */
  readonly isResuming: boolean;
  readonly warmSeconds: number;
  /** At most, both. */
  readonly seconds: number;
  readonly limit: number;
  /** Between the beginnings of two connections, at least. `ms` */
  readonly gapMs: number;
}

const plan = JSON.parse(process.argv[2] ?? "") as ConnectionsPlan;
const secureContext = createSecureContext({ ca: readFileSync(plan.ca) });
const latencies: number[] = [];
let resumed = 0;
let next = 0;
let begun = 0;

/** Until the whole answer is there; then the connection is closed. */
const connectOnce = async (session: Buffer | undefined): Promise<Buffer | undefined> => {
  const host = plan.hosts[next++ % plan.hosts.length] ?? "";
  const began = performance.now();
  const socket = connectTls({
    socket: await openTransport({ mode: plan.mode, port: plan.port, host }),
    servername: host,
    secureContext,
    ...(session !== undefined && { session }),
  });
  let latest = session;
  socket.on("session", (ticket: Buffer) => {
    latest = ticket;
  });
  let answer = "";
  return new Promise((resolve) => {
    socket.on("error", (error) => fail(`TLS to ${host}: ${error.message}`));
    socket.on("close", () => fail(`${host}: closed before the answer: ${answer.slice(0, 600)}`));
    socket.on("data", (chunk: Buffer) => {
      answer += chunk.toString("latin1");
      // The fixed body ends so, whatever the framing.
      if (!answer.includes('"}')) return;
      if (!answer.startsWith("HTTP/1.1 200")) fail(`wrong answer: ${answer.slice(0, 600)}`);
      latencies.push(performance.now() - began);
      if (socket.isSessionReused()) resumed += 1;
      socket.removeAllListeners("close");
      socket.end();
      socket.once("close", () => resolve(plan.isResuming ? latest : undefined));
      socket.destroySoon();
    });
    socket.write(`GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer not-the-key\r\n\r\n`);
  });
};

let mayBegin = 0;

/** What was missed is not made up for: no second ever has more than its share. */
const takeTurn = async (): Promise<void> => {
  const now = performance.now();
  const turn = Math.max(now, mayBegin);
  mayBegin = turn + plan.gapMs;
  if (turn > now) await sleep(turn - now);
};

const runFor = async (seconds: number, limit: number): Promise<void> => {
  const deadline = performance.now() + seconds * 1000;
  const worker = async (): Promise<void> => {
    let session: Buffer | undefined;
    while (performance.now() < deadline && begun < limit) {
      begun += 1;
      if (plan.gapMs > 0) await takeTurn();
      session = await connectOnce(session);
    }
  };
  await Promise.all(Array.from({ length: plan.parallel }, worker));
};

if (plan.warmSeconds > 0) await runFor(plan.warmSeconds, plan.limit);
latencies.length = 0;
resumed = 0;
const cpuBefore = readCpuMicroseconds(plan.pid);
const began = performance.now();
await runFor(plan.seconds, plan.limit);
const seconds = (performance.now() - began) / 1000;
const cpu = readCpuMicroseconds(plan.pid) - cpuBefore;
const connections = latencies.length;
if (connections === 0) fail("no connection was made");
const ascending = Float64Array.from(latencies).sort();
const figures = {
  connections,
  rate: connections / seconds,
  median: percentile(ascending, 0.5),
  p99: percentile(ascending, 0.99),
  cpu: cpu / connections,
  resumed: (resumed / connections) * 100,
};
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
