/** mitmproxy's mitmdump, bodies streamed, one header set by an addon. */
import { existsSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { mitmdump, prepareMitmproxy } from "../peers.ts";
import { SUBJECT_CORE, untilListening } from "../processes.ts";
import { findFreePort } from "../workbench.ts";
import type { Subject } from "./subject.ts";

const START_MS = 30_000;

export const mitmproxy: Subject = {
  name: "mitmproxy",
  mode: "forward",
  unavailable: prepareMitmproxy,
  async start(bench) {
    const state = await mkdtemp(join(bench.directory, "mitmproxy-"));
    const port = await findFreePort();
    const addon = join(state, "addon.py");
    await writeFile(addon, buildAddon(bench.upstreamPort, bench.secret), { mode: 0o600 });
    const settings = [`confdir=${state}`, `ssl_verify_upstream_trusted_ca=${bench.ca}`, "connection_strategy=lazy"];
    const started = bench.launcher.start(SUBJECT_CORE, [
      mitmdump(),
      ...["--quiet", "--no-http2", "--listen-host", "127.0.0.1", "--listen-port", String(port), "-s", addon],
      ...settings.flatMap((setting) => ["--set", setting]),
    ]);
    const ca = join(state, "mitmproxy-ca-cert.pem");
    // Python takes its time, longer than untilListening allows on a busy machine.
    const deadline = performance.now() + START_MS;
    while (!existsSync(ca) && performance.now() < deadline) await sleep(100);
    await untilListening(port, started);
    return { pid: started.pid, port, ca, close: started.close };
  },
};

const buildAddon = (upstreamPort: number, secret: string): string => `
def http_connect(flow):
    flow.request.host, flow.request.port = "127.0.0.1", ${upstreamPort}

def requestheaders(flow):
    flow.request.headers["authorization"] = "Bearer ${secret}"
    flow.request.stream = int(flow.request.headers.get("content-length", "0")) > 1000000

def responseheaders(flow):
    flow.response.stream = True
`;
