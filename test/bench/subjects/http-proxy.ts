/** http-proxy, what most Node reverse proxies stand on, with a keep-alive agent. It takes no CONNECT: cleartext in only. */
import { preparePackage } from "../peers.ts";
import { SUBJECT_CORE } from "../processes.ts";
import { HOST, nodeCommand } from "../workbench.ts";
import type { Subject } from "./subject.ts";

export const httpProxy: Subject = {
  name: "http-proxy",
  mode: "cleartext",
  unavailable: () => preparePackage("http-proxy"),
  async start(bench) {
    const { upstreamPort, ca, secret, nodeArguments } = bench;
    const command = nodeCommand("programs/http-proxy.ts", { host: HOST, upstreamPort, ca, secret }, nodeArguments);
    const started = bench.launcher.start(SUBJECT_CORE, command);
    const port = Number(await started.firstLine);
    return {
      pid: started.pid,
      port,
      ca,
      cleartext: { port, prefix: "", authority: HOST },
      close: started.close,
    };
  },
};
