/** The floor of Sidekey's own design: the same way in and out, and nothing between but one header. */
import { SUBJECT_CORE } from "../processes.ts";
import { HOST, nodeCommand } from "../workbench.ts";
import type { Subject } from "./subject.ts";

export const nodeBare: Subject = {
  name: "node-bare",
  mode: "forward",
  async start(bench) {
    const { upstreamPort, ca, certificate, key, secret, nodeArguments } = bench;
    const plan = { host: HOST, upstreamPort, ca, certificate, key, secret };
    const started = bench.launcher.start(SUBJECT_CORE, nodeCommand("programs/node-bare.ts", plan, nodeArguments));
    return { pid: started.pid, port: Number(await started.firstLine), ca, close: started.close };
  },
};
