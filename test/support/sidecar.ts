/** A whole sidecar in this process, from the text of a file, with its state in a temporary directory. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../src/core/log.ts";
import { loadConfig } from "../../src/sidecar/app/config/config.ts";
import { type Sidecar, type StartOptions, startSidecar } from "../../src/sidecar/app/lifecycle.ts";
import { endProcessesIn } from "./processes.ts";

export interface TestSidecar {
  readonly sidecar: Sidecar;
  readonly directory: string;
  /** Port of the forward proxy. */
  readonly port: number;
  /** Port of the gateway; NaN when it is off. */
  readonly gatewayPort: number;
  /** PEM that clients trust. */
  readonly ca: string;
  /** Audit records so far. */
  audit(): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
}

export interface TestSidecarOptions {
  /** YAML; `listen.proxy` should be `127.0.0.1:0`. */
  readonly file: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Written beside the file before it is read: name to content. */
  readonly files?: Readonly<Record<string, string>>;
  readonly start?: Partial<StartOptions>;
  /** Runs before the start, with the directory: to fill a vault. */
  readonly prepare?: (directory: string) => Promise<void>;
}

export const startTestSidecar = async (options: TestSidecarOptions): Promise<TestSidecar> => {
  const directory = await mkdtemp(join(tmpdir(), "sidekey-test-"));
  for (const [name, content] of Object.entries(options.files ?? {})) await writeFile(join(directory, name), content);
  await options.prepare?.(directory);
  const loaded = loadConfig({ file: join(directory, "sidekey.yaml"), text: options.file });
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems, null, 2));
  const { config } = loaded;
  const sidecar = await startSidecar({
    config,
    environment: options.environment ?? {},
    log: silentLog,
    mode: "start",
    ...options.start,
  });
  return {
    sidecar,
    directory,
    port: Number(sidecar.ready.proxy?.split(":").at(-1)),
    gatewayPort: Number(sidecar.ready.gateway?.split(":").at(-1)),
    ca: await readFile(sidecar.files.ca, "utf8"),
    async audit() {
      const text = await readFile(config.audit.path, "utf8");
      return text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    },
    async close() {
      await sidecar.drain(1_000);
      // A program of a source may still write there.
      endProcessesIn(directory);
      await rm(directory, { recursive: true, force: true });
    },
  };
};
