/** The built program with its defaults: audit on, scrub on, the secret in the embedded vault. */
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SUBJECT_CORE } from "../processes.ts";
import { COLD_HOSTS, HOST, type Workbench } from "../workbench.ts";
import type { Subject } from "./subject.ts";

const MAIN = fileURLToPath(new URL("../../../dist/main.js", import.meta.url));
const SECRET_PATH = "bench/upstream/key";
const READY = "sidekey ready ";

export const sidekey: Subject = {
  name: "sidekey",
  mode: "forward",
  unavailable: () => (existsSync(MAIN) ? undefined : "dist/main.js is missing (npm run build)"),
  async start(bench) {
    const directory = await mkdtemp(join(bench.directory, "sidekey-"));
    const file = join(directory, "sidekey.yaml");
    await writeFile(file, buildConfig(bench));
    storeSecret(file, bench.secret);
    const command = [process.execPath, ...bench.nodeArguments, MAIN, "start", "-c", file, "--log-level", "warn"];
    const started = bench.launcher.start(SUBJECT_CORE, command, { cwd: directory });
    const line = await started.firstLine;
    if (!line.startsWith(READY)) throw new Error(`sidekey start printed: ${line}`);
    const ready = JSON.parse(line.slice(READY.length)) as {
      readonly pid: number;
      readonly proxy: string;
      readonly gateway: string;
    };
    const state = join(directory, "state");
    return {
      pid: ready.pid,
      port: portOf(ready.proxy),
      ca: join(state, "ca.pem"),
      cleartext: { port: portOf(ready.gateway), prefix: "/bench", authority: ready.gateway },
      async close() {
        await started.close();
        // A figure without the audit would flatter.
        if (statSync(join(state, "audit.jsonl")).size === 0) throw new Error("sidekey wrote no audit records");
      },
    };
  },
};

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(":") + 1));

const buildConfig = ({ ca, upstreamPort }: Workbench): string => `version: 1
state: ./state
listen: { proxy: "127.0.0.1:0", gateway: "127.0.0.1:0" }
limits: { connections: 16384, tunnels: 16384 }
upstream:
  ca: ${JSON.stringify(ca)}
  connect:
${[HOST, ...COLD_HOSTS].map((host) => `    "${host}:443": "127.0.0.1:${upstreamPort}"`).join("\n")}
routes:
  bench: { match: "https://${HOST}", secret: ${SECRET_PATH} }
  cold: { match: "https://*.bench.test", secret: ${SECRET_PATH} }
`;

/** Through standard input, as a user does it, so that the value is in no argument list. */
const storeSecret = (file: string, secret: string): void => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, "secret", "set", SECRET_PATH, "-c", file], {
    input: secret,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`sidekey secret set: ${stderr}`);
};
