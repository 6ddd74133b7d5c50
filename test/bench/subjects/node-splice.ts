/** The floor of any proxy in Node: TLS in and out, and bytes between. */
import { SUBJECT_CORE } from "../processes.ts";
import { HOST, nodeCommand } from "../workbench.ts";
import type { Subject } from "./subject.ts";

export const nodeSplice: Subject = {
  name: "node-splice",
  mode: "forward",
  async start(bench) {
    const { upstreamPort, ca, certificate, key, secret, nodeArguments } = bench;
    const plan = { host: HOST, upstreamPort, ca, certificate, key, secret };
    const started = bench.launcher.start(SUBJECT_CORE, nodeCommand("programs/node-splice.ts", plan, nodeArguments));
    return { pid: started.pid, port: Number(await started.firstLine), ca, close: started.close };
  },
};
