/** nginx as the mark to measure against: TLS on both legs and one header set, in C. */

import { setTimeout as sleep } from "node:timers/promises";
import { readChildren } from "../measure.ts";
import { SUBJECT_CORE, untilListening } from "../processes.ts";
import { findFreePort, HOST, hasNginx, writeNginxConfig } from "../workbench.ts";
import type { Subject } from "./subject.ts";

const WORKER_MS = 10_000;

/** The master listens before it forks. */
const findWorker = async (master: number): Promise<number> => {
  const deadline = performance.now() + WORKER_MS;
  while (performance.now() < deadline) {
    const [worker] = readChildren(master);
    if (worker !== undefined) return worker;
    await sleep(20);
  }
  throw new Error("nginx has no worker process");
};

export const nginx: Subject = {
  name: "nginx",
  mode: "direct",
  unavailable: () => (hasNginx() ? undefined : "nginx is not installed"),
  async start(bench) {
    const port = await findFreePort();
    const cleartextPort = await findFreePort();
    const values = {
      PORT: String(port),
      CLEARTEXT_PORT: String(cleartextPort),
      UPSTREAM_PORT: String(bench.upstreamPort),
      CA: bench.ca,
    };
    const master = bench.launcher.start(SUBJECT_CORE, await writeNginxConfig(bench, "nginx.conf", values));
    await untilListening(port, master);
    const worker = await findWorker(master.pid);
    const cleartext = { port: cleartextPort, prefix: "", authority: HOST };
    return { pid: worker, port, ca: bench.ca, cleartext, close: master.close };
  },
};
