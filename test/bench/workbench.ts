/**
 * What every subject needs: a temporary directory, certificates of one authority (ECDSA P-256 throughout), the
 * upstream, and a launcher. Everything is gone after `close`.
 */
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createCloser } from "../../src/core/closer.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { createLauncher, hasProgram, type Launcher, OTHER_CORE, untilListening } from "./processes.ts";

/** The name of the upstream in requests, certificates and routes. */
export const HOST = "upstream.bench.test";
/** Names of the same upstream that nobody asked for yet. */
export const COLD_HOSTS: readonly string[] = Array.from({ length: 500 }, (_, index) => `cold-${index}.bench.test`);
/** Bytes of each answer's body. */
export const BODY_LENGTH = 1024;

export interface Workbench {
  readonly directory: string;
  /** PEM file of the authority behind every certificate here. */
  readonly ca: string;
  /** PEM file for HOST; the upstream and the subjects without a CA of their own use it. */
  readonly certificate: string;
  readonly key: string;
  /** The credential that the upstream insists on, as `Bearer SECRET`. */
  readonly secret: string;
  readonly upstreamPort: number;
  readonly upstreamKind: "nginx" | "node";
  readonly launcher: Launcher;
  /** Flags for the Node subjects, such as `--cpu-prof`. */
  readonly nodeArguments: readonly string[];
  close(): Promise<void>;
}

export const hasNginx = (): boolean => hasProgram("nginx");

export const createWorkbench = async (nodeArguments: readonly string[]): Promise<Workbench> => {
  const closer = createCloser();
  try {
    const directory = await mkdtemp(join(tmpdir(), "sidekey-bench-"));
    closer.add({ close: () => rm(directory, { recursive: true, force: true }) });
    const authority = await createTestAuthority("Sidekey bench CA");
    // The wildcard is for bench:workloads' cold hosts, the address for peers that verify what they dial.
    const leaf = await authority.issue({ names: [HOST, "*.bench.test"], ips: ["127.0.0.1"] });
    const write = async (name: string, text: string): Promise<string> => {
      const file = join(directory, name);
      await writeFile(file, text, { mode: 0o600 });
      return file;
    };
    const launcher = createLauncher(closer);
    const base = {
      directory,
      ca: await write("ca.pem", authority.certificatePem),
      certificate: await write("server.pem", leaf.cert),
      key: await write("server.key", leaf.key),
      secret: `sk-bench-${randomBytes(24).toString("hex")}`,
      launcher,
      nodeArguments,
    };
    const upstreamKind = hasNginx() ? "nginx" : "node";
    const upstreamPort = await (upstreamKind === "nginx" ? startNginxUpstream(base) : startNodeUpstream(base));
    return { ...base, upstreamKind, upstreamPort, close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
};

type UpstreamNeeds = Pick<Workbench, "directory" | "certificate" | "key" | "secret" | "launcher">;

const startNginxUpstream = async (bench: UpstreamNeeds): Promise<number> => {
  const port = await findFreePort();
  const command = await writeNginxConfig(bench, "upstream.conf", { PORT: String(port), BODY: buildBody() });
  await untilListening(port, bench.launcher.start(OTHER_CORE, command));
  return port;
};

const startNodeUpstream = async (bench: UpstreamNeeds): Promise<number> => {
  const plan = { certificate: bench.certificate, key: bench.key, secret: bench.secret, body: buildBody() };
  const started = bench.launcher.start(OTHER_CORE, nodeCommand("programs/node-upstream.ts", plan));
  return Number(await started.firstLine);
};

export const buildBody = (): string => {
  const open = '{"object":"list","data":"';
  const close = '"}';
  return open + "x".repeat(BODY_LENGTH - open.length - close.length) + close;
};

/** A configuration of this folder with every `@NAME@` replaced that has a value. */
export const fillIn = async (template: string, values: Readonly<Record<string, string>>): Promise<string> => {
  const text = await readFile(new URL(template, import.meta.url), "utf8");
  return text.replace(/@([A-Z_]+)@/g, (whole, name: string) => values[name] ?? whole);
};

/** Fills in a configuration of this folder and returns the command that runs nginx with it in the foreground. */
export const writeNginxConfig = async (
  bench: Pick<Workbench, "directory" | "certificate" | "key" | "secret">,
  template: string,
  values: Readonly<Record<string, string>>,
): Promise<readonly string[]> => {
  const directory = await mkdtemp(join(bench.directory, "nginx-"));
  const all: Record<string, string> = {
    DIR: directory,
    HOST,
    CERTIFICATE: bench.certificate,
    KEY: bench.key,
    SECRET: bench.secret,
    ...values,
  };
  const filled = await fillIn(template, all);
  const file = join(directory, "nginx.conf");
  await writeFile(file, filled, { mode: 0o600 });
  await mkdir(join(directory, "logs"), { recursive: true });
  return ["nginx", "-e", "stderr", "-p", directory, "-c", file];
};

/** Command of a TypeScript program of this folder; its one argument is `plan` as JSON. */
export const nodeCommand = (program: string, plan: unknown, nodeArguments: readonly string[] = []): string[] => [
  process.execPath,
  ...nodeArguments,
  "--import",
  import.meta.resolve("tsx"),
  fileURLToPath(new URL(program, import.meta.url)),
  JSON.stringify(plan),
];

/** A port that was free a moment ago: nginx cannot listen on port 0. */
export const findFreePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
