/**
 * Opens tunnels, uses each once and leaves it open; reads the subject's memory before and after, and before only once some
 * are open, so that what the first ones make (code, pools, buffers) is not counted as theirs.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, createSecureContext, type TLSSocket } from "node:tls";
import { type Entrance, fail, openTransport } from "../client.ts";
import { readMemory } from "../measure.ts";

interface TunnelsPlan extends Entrance {
  readonly ca: string;
  readonly pid: number;
  readonly tunnels: number;
}

/** Slow peers show a tunnel's cost by those that they got to. `s` */
const OPEN_SECONDS = 10;
const SETTLE_MS = 1000;
const FIRST = 50;
const PARALLEL = 8;

const plan = JSON.parse(process.argv[2] ?? "") as TunnelsPlan;
const secureContext = createSecureContext({ ca: readFileSync(plan.ca) });
const open: TLSSocket[] = [];
let begun = 0;

const openTunnel = async (): Promise<void> => {
  const socket = connectTls({ socket: await openTransport(plan), servername: plan.host, secureContext });
  socket.on("error", (error) => fail(`TLS: ${error.message}`));
  socket.on("close", () => fail(`the subject closed one of ${open.length} idle tunnels`));
  socket.write(`GET /v1/models HTTP/1.1\r\nHost: ${plan.host}\r\nAuthorization: Bearer not-the-key\r\n\r\n`);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  if (!chunk.toString("latin1").startsWith("HTTP/1.1 200")) fail(`wrong answer: ${chunk.toString("latin1", 0, 600)}`);
  socket.resume();
  open.push(socket);
};

const openUntil = async (tunnels: number): Promise<number> => {
  const deadline = performance.now() + OPEN_SECONDS * 1000;
  const worker = async (): Promise<void> => {
    while (performance.now() < deadline && begun < tunnels) {
      begun += 1;
      await openTunnel();
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  await sleep(SETTLE_MS);
  return readMemory(plan.pid).now;
};

const before = await openUntil(FIRST);
const first = open.length;
const memory = await openUntil(plan.tunnels);
const figures = { opened: open.length, memory, each: ((memory - before) * 1024) / (open.length - first) };
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.exit(0));
