/** haproxy with one thread: the other C proxy, TLS on both legs and one header set. */
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasProgram, SUBJECT_CORE, untilListening } from "../processes.ts";
import { fillIn, findFreePort, HOST } from "../workbench.ts";
import type { Subject } from "./subject.ts";

export const haproxy: Subject = {
  name: "haproxy",
  mode: "direct",
  unavailable: () => (hasProgram("haproxy") ? undefined : "haproxy is not installed"),
  async start(bench) {
    const directory = await mkdtemp(join(bench.directory, "haproxy-"));
    const [port, cleartextPort] = [await findFreePort(), await findFreePort()];
    const bundle = join(directory, "server.pem");
    const pems = [await readFile(bench.certificate, "utf8"), await readFile(bench.key, "utf8")];
    await writeFile(bundle, pems.join("\n"), { mode: 0o600 });
    const file = join(directory, "haproxy.cfg");
    const text = await fillIn("haproxy.cfg", {
      HOST,
      PORT: String(port),
      CLEARTEXT_PORT: String(cleartextPort),
      UPSTREAM_PORT: String(bench.upstreamPort),
      BUNDLE: bundle,
      CA: bench.ca,
      SECRET: bench.secret,
    });
    await writeFile(file, text, { mode: 0o600 });
    const started = bench.launcher.start(SUBJECT_CORE, ["haproxy", "-db", "-f", file]);
    await untilListening(port, started);
    const cleartext = { port: cleartextPort, prefix: "", authority: HOST };
    return { pid: started.pid, port, ca: bench.ca, cleartext, close: started.close };
  },
};
