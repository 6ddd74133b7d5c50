/**
 * `run`: a sidecar for one program. The program gets the proxy, the CA and placeholders; the keys stay here. Its
 * standard streams are its own: we write there only before it starts.
 */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { nearest } from "../../config/suggest.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import type { NamedVault, SidecarConfig } from "../../sidecar/app/config/config.ts";
import { exposures } from "../../sidecar/app/config/file-check.ts";
import type { Sidecar } from "../../sidecar/app/lifecycle.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, type OptionSpec, sameWithJson } from "../command.ts";
import { loadRequiredConfig } from "../context.ts";
import { EXIT_RUN_FAILED } from "../exit.ts";
import { tuneHeap } from "../heap.ts";
import { logLevel } from "../log-level.ts";
import { PRELOAD } from "../run/preload-path.ts";
import { type StopWatch, watchForStop } from "../run/stop-watch.ts";
import type { Boundary } from "../run/user.ts";

const AGENT_KEY_VARIABLE = "ASS_AGENT_KEY";

const VAULT_FILES: readonly OptionSpec[] = [
  { flags: "--ca <file>", summary: "CA certificates to trust in place of the system's, with --vault (PEM)" },
  { flags: "--cert <file>", summary: "a certificate for a vault that asks its clients for one, with --vault (PEM)" },
  { flags: "--cert-key <file>", summary: "the private key of --cert (PEM)" },
];

export const run: CommandSpec = {
  name: "run",
  summary: "run a program behind a sidecar of its own, without the keys in its environment",
  parameters: [{ syntax: "<command...>", summary: "the program and its arguments" }],
  options: [
    CONFIG_OPTION,
    { flags: "-v, --verbose", summary: "say what its environment gets and loses (names only)" },
    { flags: "--user <name>", summary: "run it as another user, who cannot read this process (root only)" },
    {
      flags: "--expose <name>",
      summary: "leave a variable in its environment that it would lose; may be repeated",
      repeat: true,
    },
    {
      flags: "--vault <url>",
      summary: `take its secrets from this vault, with the agent's key in $${AGENT_KEY_VARIABLE}`,
    },
    ...VAULT_FILES,
    sameWithJson("what is printed is the program's"),
  ],
  examples: [
    "sidekey run -- python agent.py",
    "sidekey run -c work.yaml -- npm start",
    "sidekey run --user agent -- claude",
    "sidekey run --expose ASS_AGENT_KEY -- python orchestrator.py",
    "sidekey run --vault https://vault.internal:7200 -- python agent.py",
  ],
  passThrough: true,
  failure: EXIT_RUN_FAILED,
  async run(invocation) {
    const { options } = invocation;
    // Only the child's copy is removed by the table; ours would turn off the checks of our own connections.
    delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    // Before anything is made that has to be taken back.
    const stop = watchForStop();
    const user = options.text("user");
    if (user === undefined) return runBehindSidecar(invocation, undefined, stop);
    const { openBoundary } = await import("../run/user.ts");
    const boundary = openBoundary(user);
    try {
      return await runBehindSidecar(invocation, boundary, stop);
    } finally {
      boundary.close();
    }
  },
};

const runBehindSidecar = async (
  invocation: Invocation,
  boundary: Boundary | undefined,
  stop: StopWatch,
): Promise<number> => {
  const { environment, options, parameters, terminal } = invocation;
  for (const name of options.list("expose")) checkExposed(name, environment);
  const config = await loadRequiredConfig(invocation, namedVault(invocation));
  prepareStateDirectory(config.state);
  const { createLog } = await import("../../core/process-log.ts");
  const log = createLog({ level: logLevel(invocation, config.logLevel), to: join(config.state, "sidekey.log") });
  for (const { path, reason, remedy } of exposures(config)) {
    log.warn("somebody else could change what decides where keys go", { path, reason, remedy });
    // With another user this is a way around the boundary, and the person thinks that there is none.
    if (boundary !== undefined) terminal.note(`no whole boundary: ${path} ${reason}. ${remedy}`);
  }
  const { callerBundles } = await import("../run/environment.ts");
  tuneHeap();
  const { startSidecar } = await import("../../sidecar/app/lifecycle.ts");
  const { runChild } = await import("../run/child.ts");
  if (stop.exitCode !== undefined) return stop.exitCode;
  const sidecar = await startSidecar({
    config,
    environment,
    log,
    mode: "run",
    extraBundles: readBundles(callerBundles(environment)),
    ...(boundary !== undefined && { publicDirectory: boundary.publicDirectory }),
  });
  try {
    if (stop.exitCode !== undefined) return stop.exitCode;
    const variables = await prepareEnvironment(invocation, { config, sidecar, boundary });
    if (stop.exitCode !== undefined) return stop.exitCode;
    for (const note of boundary?.notes ?? [SAME_USER]) terminal.note(note);
    const command = boundary?.command(parameters) ?? parameters;
    const { exitCode, failure } = await stop.leaveTo(() => runChild(command, variables));
    if (failure !== undefined) terminal.fail(notStarted(parameters[0] ?? "", failure));
    return exitCode;
  } finally {
    // The program has ended as it has; what fails now is for the log, and must not change its code.
    await sidecar.drain(GRACE_MS).catch((error: unknown) => {
      log.error("not all could be closed", { code: toSidekeyError(error).code });
    });
    // A client often keeps the words of a refusal to itself: all it says is that the proxy did not let it.
    const refused = [...sidecar.refused()];
    if (refused.length > 0) {
      const codes = refused.map(([code, count]) => (count === 1 ? code : `${code}, ${count} times`)).join("; ");
      terminal.advise(`not all calls got through: ${codes}. 'sidekey audit tail' says which`);
    }
  }
};

/** A name that is misspelt would leave the program without what it needs, and say nothing. */
const checkExposed = (name: string, environment: Invocation["environment"]): void => {
  if (environment[name] !== undefined) return;
  const known = Object.keys(environment);
  const meant = nearest(name, known);
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `--expose ${name}: there is no such variable.`,
    hint: meant === undefined ? "Set it, or leave the option out." : `Did you mean ${meant}?`,
  });
};

/** Errors: CONFIG_USAGE. */
const namedVault = ({ options, environment, directory }: Invocation): NamedVault | undefined => {
  const address = options.text("vault");
  const [ca, cert, certKey] = ["ca", "cert", "cert-key"].map((name) => {
    const file = options.text(name);
    if (file !== undefined && address === undefined) throw usage(`--${name} goes with --vault URL.`);
    return file === undefined ? undefined : resolve(directory, file);
  });
  if (address === undefined) return undefined;
  if ((cert === undefined) !== (certKey === undefined)) {
    throw usage("--cert and --cert-key go together.", "Give the certificate with --cert and its key with --cert-key.");
  }
  if ((environment[AGENT_KEY_VARIABLE] ?? "") === "") {
    throw usage(
      `--vault asks for an agent's key in ${AGENT_KEY_VARIABLE}, and there is none.`,
      "An operator makes one: sidekey agent create NAME --vault URL.",
    );
  }
  return {
    address,
    agentKey: AGENT_KEY_VARIABLE,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && certKey !== undefined && { certificate: { cert, key: certKey } }),
  };
};

const usage = (detail: string, hint?: string): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", { detail, ...(hint !== undefined && { hint }) });

const SAME_USER = "same user: a hostile program could still read this process; 'run' is no boundary against it.";

/** What the program left open when it ended is nobody's any more. `ms` */
const GRACE_MS = 500;

interface Stage {
  readonly config: SidecarConfig;
  readonly sidecar: Sidecar;
  readonly boundary: Boundary | undefined;
}

const prepareEnvironment = async (
  { environment, options, terminal }: Invocation,
  { config, sidecar: { proxyUrl, files, runId, containsSecret, unknownSecrets }, boundary }: Stage,
): Promise<Readonly<Record<string, string>>> => {
  const { childEnvironment } = await import("../run/environment.ts");
  const { credentialNames } = await import("../../sidecar/app/config/credential-names.ts");
  const { routeEnvironments } = await import("../run/from-config.ts");
  if (proxyUrl === undefined) throw new TypeError("run always has a proxy");
  const hasPreload = boundary?.canRead(PRELOAD) ?? true;
  if (!hasPreload) terminal.note(`no proxy for fetch of Node before 22.21: this user cannot read ${PRELOAD}`);
  const unknown = await unknownSecrets();
  const exposed = options.list("expose");
  const { variables, removed, suspected, exposing } = await childEnvironment({
    caller: { ...environment, ...boundary?.variables },
    proxyUrl,
    ca: files.ca,
    bundle: files.bundle,
    preload: hasPreload ? PRELOAD : undefined,
    runId,
    routes: routeEnvironments(config),
    removedNames: credentialNames(config),
    exposed,
    containsSecret,
    isCautious: unknown.length > 0,
  });
  for (const name of exposing) terminal.note(`${name} holds a secret of this file, and the program can read it`);
  if (unknown.length > 0) {
    const which = unknown.map(({ secret, code }) => `${secret} (${code})`).join(", ");
    const gone = suspected.length === 0 ? "there are none" : suspected.join(" ");
    terminal.note(`not to be read now: ${which}. Its requests get 503 until it is.`);
    terminal.note(`variables that might hold it are kept from the program: ${gone}`);
  }
  if (options.flag("verbose")) {
    const set = Object.keys(variables).filter((name) => variables[name] !== environment[name]);
    terminal.note(`proxy ${proxyUrl}, log ${join(config.state, "sidekey.log")}`);
    terminal.note(`set: ${set.sort().join(" ")}`);
    terminal.note(`removed: ${removed.length === 0 ? "nothing" : removed.join(" ")}`);
  }
  return variables;
};

const notStarted = (program: string, failure: string): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", {
    detail: `'${program}' cannot be started (${failure}).`,
    hint: failure === "ENOENT" ? "Check its name and PATH." : "Check that it is a program, and its mode.",
  });

/** What the caller's own variables named goes into the bundle. */
const readBundles = (paths: readonly string[]): readonly string[] => paths.map(readIfFile);

/** A directory or a missing file gave the client nothing either. */
const readIfFile = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};
