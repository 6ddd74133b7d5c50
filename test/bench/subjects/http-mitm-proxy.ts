/** http-mitm-proxy, the interception proxy most Node projects start from, with a keep-alive agent. */
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SUBJECT_CORE } from "../processes.ts";
import { HOST, nodeCommand } from "../workbench.ts";
import type { Subject } from "./subject.ts";

export const httpMitmProxy: Subject = {
  name: "http-mitm-proxy",
  mode: "forward",
  async start(bench) {
    const { upstreamPort, ca, certificate, key, secret, nodeArguments } = bench;
    const state = await mkdtemp(join(bench.directory, "mitm-"));
    const plan = { host: HOST, upstreamPort, ca, certificate, key, secret, state };
    const command = nodeCommand("programs/http-mitm-proxy.ts", plan, nodeArguments);
    const started = bench.launcher.start(SUBJECT_CORE, command, { cwd: state });
    const port = Number(await started.firstLine);
    const trusted = join(state, "trusted.pem");
    const own = await readFile(join(state, "certs/ca.pem"), "utf8");
    await writeFile(trusted, `${await readFile(ca, "utf8")}\n${own}`);
    return { pid: started.pid, port, ca: trusted, close: started.close };
  },
};
