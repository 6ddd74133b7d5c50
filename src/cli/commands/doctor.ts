/**
 * `doctor`: whether this machine, this file and what runs here fit sidekey. It changes nothing, asks nobody beyond this
 * machine but the vaults of the file, ends in bounded time, and says of every fault what to do about it.
 */
import { constants } from "node:os";
import { nearest } from "../../config/suggest.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { systemCode } from "../../core/whole-file.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import type { Client } from "../doctor/clients/client.ts";
import type { ClientResult } from "../doctor/clients/trial.ts";
import type { Finding } from "../doctor/finding.ts";
import type { Section } from "../doctor/report.ts";
import { EXIT_FAILED, EXIT_OK, EXIT_SIGNAL_BASE } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";

export const doctor: CommandSpec = {
  name: "doctor",
  summary: "check this machine, the file, its keys and ports, and every client runtime that is here",
  options: [
    { flags: "--client <name>", summary: "only this client; 'none': no client", repeat: true },
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [
    "sidekey doctor                    # 0: nothing is wrong; 1: something is, and how to mend it",
    "sidekey doctor --client curl --client python-requests",
    "sidekey doctor --client none --json",
  ],
  async run(invocation) {
    refuseInsideRun("doctor", invocation);
    const { options, terminal } = invocation;
    const clients = await chosenClients(options.list("client"));
    const breaker = new AbortController();
    const broken = brokenOff(breaker);
    const { sections, removedNames } = await checkAll(invocation);
    if (!options.flag("json")) {
      const { describeSections } = await import("../doctor/report.ts");
      terminal.print(describeSections(sections, terminal.paint));
    }
    const results = clients.length === 0 ? [] : await tryAll(invocation, clients, removedNames, breaker.signal);
    if (broken.signal !== undefined) return EXIT_SIGNAL_BASE + constants.signals[broken.signal];
    const ok =
      results.every(({ result }) => result !== "fails") &&
      sections.every(({ findings }) => findings.every(({ level }) => level !== "fail"));
    if (options.flag("json")) terminal.printJson(asJson(ok, sections, results));
    else if (results.length > 0) {
      const { describeClients } = await import("../doctor/report.ts");
      terminal.print(`\n${describeClients(results, terminal.paint)}`);
    }
    return ok ? EXIT_OK : EXIT_FAILED;
  },
};

/** Errors: CONFIG_USAGE. */
const chosenClients = async (names: readonly string[]): Promise<readonly Client[]> => {
  const { CLIENTS } = await import("../doctor/clients/index.ts");
  if (names.length === 0) return CLIENTS;
  if (names.length === 1 && names[0] === "none") return [];
  const known = CLIENTS.map(({ name }) => name);
  for (const name of names) {
    if (known.includes(name)) continue;
    const meant = nearest(name, known);
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `There is no client '${name}' that doctor knows.`,
      hint: meant === undefined ? `It knows: ${known.join(", ")}; or none.` : `Did you mean '${meant}'?`,
    });
  }
  return CLIENTS.filter(({ name }) => names.includes(name));
};

interface Checked {
  readonly sections: readonly Section[];
  /** Variables that hold credentials by the file: no client gets them. */
  readonly removedNames: readonly string[];
}

const checkAll = async (invocation: Invocation): Promise<Checked> => {
  const { environment } = invocation;
  const { checkMachine } = await import("../doctor/machine.ts");
  const { checkFile } = await import("../doctor/file.ts");
  const { findings: file, config } = await checkFile(invocation);
  const sections: Section[] = [
    { title: "This machine", findings: checkMachine(environment, config?.limits.connections) },
    { title: "The file", findings: file },
  ];
  if (config === undefined) return { sections, removedNames: [] };
  const { looking } = await import("../doctor/finding.ts");
  const { checkState } = await import("../doctor/state.ts");
  const { checkAudit, checkCa, checkVaults } = await import("../doctor/keys.ts");
  const { checkPorts } = await import("../doctor/ports.ts");
  const { checkVaultServers } = await import("../doctor/vault-servers.ts");
  const { credentialNames } = await import("../../sidecar/app/config/credential-names.ts");
  const kept: Finding[] = [
    ...(await looking("state directory", () => checkState(config))),
    ...(await looking("CA", () => checkCa(config))),
    ...(await looking("vault", () => checkVaults(config, environment))),
    ...(await looking("vault", () => checkVaultServers(config, environment))),
    ...(await looking("audit", () => checkAudit(config))),
  ];
  sections.push({ title: "What it keeps", findings: kept });
  sections.push({ title: "Where it listens", findings: await looking("listen", () => checkPorts(invocation, config)) });
  return { sections, removedNames: credentialNames(config) };
};

const tryAll = async (
  { environment, directory, terminal }: Invocation,
  clients: readonly Client[],
  removedNames: readonly string[],
  signal: AbortSignal,
): Promise<readonly ClientResult[]> => {
  const { tryClients } = await import("../doctor/clients/trial.ts");
  const waiting = new Set(clients.map(({ name }) => name));
  const tell = (): void => terminal.progress(`trying clients: ${[...waiting].join(", ")}`);
  tell();
  try {
    return await tryClients({
      clients,
      environment,
      removedNames,
      directory,
      signal,
      done({ name }) {
        waiting.delete(name);
        tell();
      },
    });
  } catch (error) {
    // The rest of what was found must not be lost with it.
    const reason = `no sidecar could be started for it: ${toSidekeyError(error).detail ?? systemCode(error)}`;
    return clients.map(({ name }) => ({ name, result: "fails", reason }));
  } finally {
    terminal.progress(undefined);
  }
};

/** INT or TERM ends what was started, so that nothing stays behind; a second one ends at once, and that too. */
const brokenOff = (breaker: AbortController): { signal: NodeJS.Signals | undefined } => {
  const broken: { signal: NodeJS.Signals | undefined } = { signal: undefined };
  process.once("exit", () => breaker.abort());
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (broken.signal !== undefined) process.exit(EXIT_SIGNAL_BASE + constants.signals[signal]);
      broken.signal = signal;
      breaker.abort();
    });
  }
  return broken;
};

const asJson = (ok: boolean, sections: readonly Section[], clients: readonly ClientResult[]) => ({
  ok,
  checks: sections.flatMap(({ title, findings }) => findings.map((one) => ({ section: title, ...one }))),
  clients,
});
