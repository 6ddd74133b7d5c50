/** mockttp (HTTP Toolkit's proxy), passing through with one header set. */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { preparePackage } from "../peers.ts";
import { SUBJECT_CORE } from "../processes.ts";
import { nodeCommand } from "../workbench.ts";
import type { Subject } from "./subject.ts";

export const mockttp: Subject = {
  name: "mockttp",
  mode: "forward",
  unavailable: () => preparePackage("mockttp"),
  async start(bench) {
    const { upstreamPort, ca, secret, nodeArguments } = bench;
    const state = await mkdtemp(join(bench.directory, "mockttp-"));
    const ownCa = join(state, "ca.pem");
    const command = nodeCommand("programs/mockttp.ts", { upstreamPort, ca, secret, ownCa }, nodeArguments);
    const started = bench.launcher.start(SUBJECT_CORE, command);
    return { pid: started.pid, port: Number(await started.firstLine), ca: ownCa, close: started.close };
  },
};
