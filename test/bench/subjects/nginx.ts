/** nginx as the mark to measure against: TLS on both legs and one header set, in C. */

import { readChildren } from "../measure.ts";
import { SUBJECT_CORE, untilListening } from "../processes.ts";
import { findFreePort, hasNginx, writeNginxConfig } from "../workbench.ts";
import type { Subject } from "./subject.ts";

export const nginx: Subject = {
  name: "nginx",
  mode: "direct",
  unavailable: () => (hasNginx() ? undefined : "nginx is not installed"),
  async start(bench) {
    const port = await findFreePort();
    const values = { PORT: String(port), UPSTREAM_PORT: String(bench.upstreamPort), CA: bench.ca };
    const master = bench.launcher.start(SUBJECT_CORE, await writeNginxConfig(bench, "nginx.conf", values));
    await untilListening(port, master);
    const [worker] = readChildren(master.pid);
    if (worker === undefined) throw new Error("nginx has no worker process");
    return { pid: worker, port, ca: bench.ca, close: master.close };
  },
};
