/** The upstream of all workloads: nginx with TLS, and behind it a Node program for events. */
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { OTHER_CORE, untilListening } from "../processes.ts";
import { buildBody, findFreePort, nodeCommand, type Workbench, writeNginxConfig } from "../workbench.ts";

export const LARGE_BYTES = 10_000_000;

/** Text as an API sends it: no body that a scrubber could pass over at a glance. */
const buildLargeBody = (): Buffer => {
  const lines: string[] = [];
  let length = 0;
  for (let index = 0; length < LARGE_BYTES; index++) {
    const line = `{"id":"item-${index}","name":"the quick brown fox","score":${(index * 7919) % 10_007}}\n`;
    lines.push(line);
    length += line.length;
  }
  return Buffer.from(lines.join("")).subarray(0, LARGE_BYTES);
};

/** Its port. */
export const startWorkloadUpstream = async (bench: Workbench): Promise<number> => {
  const events = bench.launcher.start(OTHER_CORE, nodeCommand("programs/event-upstream.ts", {}));
  const [port, answerPort] = [await findFreePort(), await findFreePort()];
  const command = await writeNginxConfig(bench, "workload-upstream.conf", {
    PORT: String(port),
    ANSWER_PORT: String(answerPort),
    EVENTS_PORT: await events.firstLine,
    BODY: buildBody(),
  });
  const directory = command[command.indexOf("-p") + 1] ?? bench.directory;
  // A worker of an nginx that root starts belongs to nobody, and must get at the one file that is not a secret.
  await chmod(bench.directory, 0o711);
  await chmod(directory, 0o711);
  await writeFile(join(directory, "down"), buildLargeBody(), { mode: 0o644 });
  await untilListening(port, bench.launcher.start(OTHER_CORE, command));
  return port;
};
