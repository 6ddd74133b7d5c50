/** Debian's haproxy as a TLS front of an upstream: a second, strict reader of what the sidecar sends. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { choosePort } from "./ports.ts";

export const hasHaproxy = (): boolean => spawnSync("haproxy", ["-v"]).status === 0;

export interface Haproxy {
  /** `127.0.0.1:PORT` */
  readonly address: string;
  /** Lines it wrote: one for each request, with the status and the termination state. */
  readonly log: readonly string[];
  close(): Promise<void>;
}

/** Shows `certificate` and passes requests in cleartext to `upstream` (`127.0.0.1:PORT`), as it reads them. */
export const startHaproxy = async (certificate: { cert: string; key: string }, upstream: string): Promise<Haproxy> => {
  const directory = await mkdtemp(join(tmpdir(), "sidekey-haproxy-"));
  const port = await choosePort();
  const pem = join(directory, "front.pem");
  const file = join(directory, "haproxy.cfg");
  await writeFile(pem, certificate.cert + certificate.key, { mode: 0o600 });
  await writeFile(
    file,
    `global
  log stdout format raw local0
  nbthread 1
  maxconn 200
defaults
  mode http
  log global
  log-format "%ST %ts %HM %HP"
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  # One request a connection: nothing is left open when a test ends.
  option httpclose
frontend front
  bind 127.0.0.1:${port} ssl crt ${pem} alpn http/1.1
  default_backend back
backend back
  server upstream ${upstream}
`,
  );
  const child = spawn("haproxy", ["-db", "-f", file], { stdio: ["ignore", "pipe", "pipe"] });
  const log: string[] = [];
  const collect = (chunk: Buffer): void => void log.push(...chunk.toString("latin1").split("\n").filter(Boolean));
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const close = async (): Promise<void> => {
    child.kill("SIGKILL");
    await exited;
    await rm(directory, { recursive: true, force: true });
  };
  for (let attempt = 0; !(await answers(port)); attempt++) {
    if (attempt < 100 && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 50));
    else {
      await close();
      throw new Error(`haproxy did not start: ${log.join("\n")}`);
    }
  }
  return { address: `127.0.0.1:${port}`, log, close };
};

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
