/**
 * Calls with every client that is here, each through a sidecar that is like `run`'s, to a stand-in on this machine: its own
 * state, its own CA, a key that is worth nothing. Dials nothing else and leaves nothing behind.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCloser } from "../../../core/closer.ts";
import { silentLog } from "../../../core/log.ts";
import { loadConfig, type SidecarConfig } from "../../../sidecar/app/config/config.ts";
import { startSidecar } from "../../../sidecar/app/lifecycle.ts";
import { findProgram } from "../../../sidecar/secrets/program.ts";
import { childEnvironment } from "../../run/environment.ts";
import { PRELOAD } from "../../run/preload-path.ts";
import { type Environment, visible } from "../../terminal.ts";
import { type CallEnd, call } from "./call.ts";
import { type Attempt, type Client, EXIT_ABSENT, IGNORED_PROXY, type Place } from "./client.ts";
import { type StandIn, startStandIn } from "./stand-in.ts";

export interface ClientResult {
  readonly name: string;
  readonly version?: string;
  /** `works` as `run` starts it; `needs` something set as well; `unknown`: no time; `absent`: not on this machine. */
  readonly result: "works" | "needs" | "fails" | "unknown" | "absent";
  /** For `needs`. */
  readonly set?: string;
  /** For `fails` and `unknown`: why, and what to try. */
  readonly reason?: string;
  readonly hint?: string;
}

export interface TrialOptions {
  readonly clients: readonly Client[];
  readonly environment: Environment;
  /** Variables of it that hold credentials. */
  readonly removedNames: readonly string[];
  readonly directory: string;
  readonly signal: AbortSignal;
  /** A client has been tried. */
  done(result: ClientResult): void;
}

/** RFC 6761: no resolver knows it, so whoever does not use the proxy gets nowhere. */
const HOST = "doctor.sidekey.invalid";
const KEY_VARIABLE = "DOCTOR_KEY";
/** At once: more would only slow each other down. */
const AT_ONCE = 3;
const TIMEOUT_MS = 20_000;
/** All of them. `ms` */
const TOTAL_MS = 120_000;

/** In the order of `clients`. */
export const tryClients = async (given: TrialOptions): Promise<readonly ClientResult[]> => {
  const { clients, environment, directory } = given;
  const options = { ...given, signal: AbortSignal.any([given.signal, AbortSignal.timeout(TOTAL_MS)]) };
  const here = clients.map((client) => ({ client, program: findHere(client.program, environment, directory) }));
  if (here.every(({ program }) => program === undefined)) {
    return clients.map(({ name }) => ({ name, result: "absent" }));
  }
  const closer = createCloser();
  try {
    const stage = await openStage(options, closer);
    const results = new Map<Client, ClientResult>();
    const waiting = [...here];
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined && !options.signal.aborted; next = waiting.shift()) {
        const { client, program } = next;
        const result: ClientResult =
          program === undefined ? { name: client.name, result: "absent" } : await tryClient(client, program, stage);
        results.set(client, result);
        options.done(result);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return clients.map((client) => results.get(client) ?? { name: client.name, result: "unknown", reason: NO_TIME });
  } finally {
    await closer.close();
  }
};

const NO_TIME = "no time was left for it";

interface Stage {
  readonly standIn: StandIn;
  readonly variables: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** For one client: a directory of its own. */
  place(name: string): Promise<Place>;
}

const openStage = async (options: TrialOptions, closer: ReturnType<typeof createCloser>): Promise<Stage> => {
  const { environment, removedNames, directory, signal } = options;
  const scratch = await mkdtemp(join(tmpdir(), "sidekey-doctor-"));
  // This process may have to end at once, as when nobody reads what it prints any more.
  const remove = (): void => rmSync(scratch, { recursive: true, force: true });
  process.once("exit", remove);
  closer.add({
    close() {
      process.off("exit", remove);
      remove();
    },
  });
  const key = `doctor-${randomBytes(18).toString("base64url")}`;
  const standIn = closer.add(await startStandIn(HOST, key));
  const caFile = join(scratch, "stand-in.pem");
  await writeFile(caFile, standIn.ca);
  const config = configFor(scratch, caFile, standIn.address);
  const sidecar = await startSidecar({
    config,
    environment: { [KEY_VARIABLE]: key, PATH: environment["PATH"] },
    log: silentLog,
    mode: "run",
  });
  closer.add({ close: () => sidecar.drain(0) });
  const { files, proxyUrl = "", runId } = sidecar;
  const { variables } = await childEnvironment({
    caller: environment,
    proxyUrl,
    ca: files.ca,
    bundle: files.bundle,
    preload: PRELOAD,
    runId,
    routes: [{ variables: [], placeholder: "", hosts: [HOST] }],
    removedNames,
    exposed: [],
    // The key is made here, so no variable of the caller's can hold it.
    containsSecret: async () => false,
  });
  const { hostname, port } = new URL(proxyUrl);
  return {
    standIn,
    variables,
    signal,
    async place(name) {
      const own = join(scratch, name);
      await mkdir(own);
      return {
        url: `https://${HOST}/${name}`,
        host: HOST,
        proxy: { host: hostname, port: Number(port) },
        ca: files.ca,
        bundle: files.bundle,
        scratch: own,
        directory,
      };
    },
  };
};

const configFor = (scratch: string, ca: string, address: string): SidecarConfig => {
  const file = {
    version: 1,
    agent: "doctor",
    state: join(scratch, "state"),
    sources: { key: { kind: "env" } },
    routes: { doctor: { match: `https://${HOST}/**`, secret: `key:${KEY_VARIABLE}` } },
    upstream: { ca, connect: { [`${HOST}:443`]: address } },
  };
  // A JSON document is a YAML document.
  const result = loadConfig({ file: join(scratch, "sidekey.yaml"), text: JSON.stringify(file) });
  if ("problems" in result) throw new TypeError(JSON.stringify(result.problems));
  return result.config;
};

const findHere = (program: string, environment: Environment, baseDir: string): string | undefined =>
  findProgram(program, { baseDir, searchPath: environment["PATH"] });

const tryClient = async (client: Client, program: string, stage: Stage): Promise<ClientResult> => {
  const { name, timeoutMs = TIMEOUT_MS } = client;
  const place = await stage.place(name);
  const start = (args: readonly string[], attempt: Partial<Attempt> = {}): Promise<CallEnd> =>
    call({
      program: attempt.program ?? program,
      args,
      environment: { ...stage.variables, ...attempt.environment },
      directory: place.scratch,
      timeoutMs,
      signal: stage.signal,
    });
  let version = versionIn((await start(client.version)).output);
  let first: CallEnd | undefined;
  for (const attempt of client.attempts(place)) {
    for (const [file, text] of Object.entries(attempt.files ?? {})) await writeFile(join(place.scratch, file), text);
    const { before } = attempt;
    if (before !== undefined && (await start(before.args, { program: before.program })).code !== 0) continue;
    const end = await start(attempt.args, attempt);
    if (end.code === EXIT_ABSENT) return { name, result: "absent" };
    version = /^version (\S+)$/m.exec(end.output)?.[1] ?? version;
    if (end.code === 0 && stage.standIn.seen(`/${name}`) === "with key") {
      const known = { name, ...(version !== undefined && { version }) };
      return attempt.needs === undefined
        ? { ...known, result: "works" }
        : { ...known, result: "needs", set: attempt.needs };
    }
    first ??= end;
  }
  const known = { name, ...(version !== undefined && { version }) };
  if (stage.signal.aborted) return { ...known, result: "unknown", reason: NO_TIME };
  if (first?.timedOut === true && client.isBuilt === true) {
    const reason = `it was not built and run within ${timeoutMs / 1000} s`;
    return {
      ...known,
      result: "unknown",
      reason,
      hint: "Build something with it, which fills its cache, and try again.",
    };
  }
  return { ...known, result: "fails", ...explain(first, timeoutMs) };
};

const versionIn = (output: string): string | undefined => /\d+(?:\.\d+)+/.exec(output)?.[0];

const UNTRUSTED = /certificate|self.signed|unable to (?:get|verify)|UNKNOWN_CA|SSLHandshake|PKIX|x509/i;

const explain = (end: CallEnd | undefined, timeoutMs: number): Pick<ClientResult, "reason" | "hint"> => {
  if (end === undefined) return { reason: "nothing could be tried" };
  const { output, timedOut, code } = end;
  if (timedOut) {
    return { reason: `no answer within ${timeoutMs / 1000} s`, hint: "Try again when this machine is less busy." };
  }
  if (output.includes(IGNORED_PROXY) || /resolv|getaddrinfo|ENOTFOUND|UnknownHost|UnresolvedAddress/i.test(output)) {
    return {
      reason: "it does not use the proxy of HTTPS_PROXY",
      hint: "Give it the proxy in its own settings, or a base URL of the gateway (listen.gateway).",
    };
  }
  if (UNTRUSTED.test(output)) {
    return {
      reason: "it does not trust the CA that 'run' names in its environment",
      hint: "Give it ca-bundle.pem in its own settings, or a base URL of the gateway (listen.gateway).",
    };
  }
  return { reason: `ended with ${code ?? "a signal"}: ${firstLine(output)}` };
};

const firstLine = (output: string): string => {
  const line = output.split("\n").find((text) => text.trim() !== "") ?? "no words";
  return visible(line.trim()).slice(0, 200);
};
