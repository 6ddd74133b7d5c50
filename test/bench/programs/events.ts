/** Reads streams of programs/event-upstream.ts through a subject; every event must arrive. */
import { readFileSync } from "node:fs";
import { connect as connectTls } from "node:tls";
import { type Entrance, fail, openTransport } from "../client.ts";
import { percentile, readCpuMicroseconds } from "../measure.ts";

interface EventsPlan extends Entrance {
  readonly ca: string;
  readonly pid: number;
  readonly streams: number;
  readonly gapMs: number;
  /** Events of each stream that do not count, and those that do. */
  readonly warm: number;
  readonly count: number;
}

const SENT = /"sent":"(\d+)"/g;
const NS_PER_MS = 1e6;

const plan = JSON.parse(process.argv[2] ?? "") as EventsPlan;
const ca = readFileSync(plan.ca);
const expected = plan.warm + plan.count;

/** Latencies of the events that count, `ms`. */
const readStream = async (onWarm: () => void): Promise<readonly number[]> => {
  const socket = connectTls({ socket: await openTransport(plan), servername: plan.host, ca });
  const latencies: number[] = [];
  let arrived = 0;
  let text = "";
  return new Promise((resolve) => {
    socket.on("error", (error) => fail(`TLS: ${error.message}`));
    socket.on("close", () => fail(`a stream ended after ${arrived} of ${expected} events`));
    socket.on("data", (chunk: Buffer) => {
      const now = process.hrtime.bigint();
      text += chunk.toString("latin1");
      const end = text.lastIndexOf("\n\n");
      if (end === -1) return;
      for (const [, sent = ""] of text.slice(0, end).matchAll(SENT)) {
        arrived += 1;
        if (arrived === plan.warm) onWarm();
        if (arrived > plan.warm) latencies.push(Number(now - BigInt(sent)) / NS_PER_MS);
      }
      text = text.slice(end);
      if (arrived < expected) return;
      socket.removeAllListeners("close");
      socket.destroy();
      resolve(latencies);
    });
    socket.write(
      `GET /events?count=${expected}&gap=${plan.gapMs} HTTP/1.1\r\nHost: ${plan.host}\r\nAccept: text/event-stream\r\n` +
        "Authorization: Bearer not-the-key\r\n\r\n",
    );
  });
};

let cpuBefore = Number.NaN;
const onWarm = (): void => {
  if (Number.isNaN(cpuBefore)) cpuBefore = readCpuMicroseconds(plan.pid);
};
const streams = await Promise.all(Array.from({ length: plan.streams }, () => readStream(onWarm)));
const cpu = readCpuMicroseconds(plan.pid) - cpuBefore;
const latencies = Float64Array.from(streams.flat()).sort();
const figures = {
  events: latencies.length,
  median: percentile(latencies, 0.5),
  p99: percentile(latencies, 0.99),
  cpu: cpu / latencies.length,
};
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
