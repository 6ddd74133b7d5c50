/**
 * What a process that holds secrets refuses to run with: anything that opens its memory, its TLS or its traffic to
 * somebody else. Checked before anything is read, by every command: they all read files in which secrets may stand
 * (guarantees.md, F1 and G1).
 */
import { url as inspectorUrl } from "node:inspector";
import { SidekeyError } from "../core/errors.ts";
import type { Environment } from "./terminal.ts";

/** A word that starts with one of these, and then ends or goes on with `=` or `-`. */
const REFUSED_FLAGS = [
  "--inspect",
  "--debug-port",
  "--heapsnapshot-signal",
  "--heapsnapshot-near-heap-limit",
  "--heap-prof",
  "--report-on-signal",
  "--report-on-fatalerror",
  "--report-uncaught-exception",
  "--report-signal",
  "--abort-on-uncaught-exception",
  "--tls-keylog",
  "--trace-tls",
  "--insecure-http-parser",
] as const;

/** V8 prints every call with its arguments. Its other flags that begin so are harmless. */
const TRACE_CALLS = "--trace";

/** Sections of NODE_DEBUG that print names of files and times alone. All others print bytes, headers or environments. */
const HARMLESS_DEBUG = /^(?:cjs|esm|module|source_map|timer)?$/i;

export interface Process {
  readonly execArgv: readonly string[];
  readonly environment: Environment;
  /** Where an inspector listens now; undefined = nowhere. */
  readonly inspector: string | undefined;
}

export const currentProcess = (environment: Environment): Process => ({
  execArgv: process.execArgv,
  environment,
  inspector: inspectorUrl(),
});

/** Errors: CONFIG_USAGE. */
export const refuseOpenProcess = ({ execArgv, environment, inspector }: Process): void => {
  for (const word of execArgv) refuseFlag(word, "among Node's arguments");
  for (const word of splitOptions(environment["NODE_OPTIONS"] ?? "")) refuseFlag(word, "in NODE_OPTIONS");
  if (inspector !== undefined) throw refusal("an inspector is open", "Start it without a debugger.");
  const sections = (environment["NODE_DEBUG"] ?? "").split(",").map((section) => section.trim());
  if (!sections.every((section) => HARMLESS_DEBUG.test(section))) {
    throw refusal("NODE_DEBUG prints what is read and sent", "Unset NODE_DEBUG.");
  }
  if ((environment["NODE_DEBUG_NATIVE"] ?? "") !== "") {
    throw refusal("NODE_DEBUG_NATIVE prints what Node does inside", "Unset NODE_DEBUG_NATIVE.");
  }
};

/** No diagnostic report leaves this process by itself; one that is asked for in spite of that names no addresses. */
export const shutReports = (report: Partial<NodeJS.ProcessReport> = process.report): void => {
  report.reportOnSignal = false;
  report.reportOnFatalError = false;
  report.reportOnUncaughtException = false;
  // Not in every version of Node.
  for (const name of ["excludeNetwork", "excludeEnv"]) if (name in report) Reflect.set(report, name, true);
};

/** Errors: CONFIG_USAGE. */
export const refuseUntrustedTls = (environment: Environment): void => {
  if (environment["NODE_TLS_REJECT_UNAUTHORIZED"] !== "0") return;
  throw refusal(
    "NODE_TLS_REJECT_UNAUTHORIZED=0 turns certificate checks off",
    "Unset it, and name your own CA with 'upstream.ca' in sidekey.yaml.",
  );
};

const refuseFlag = (word: string, where: string): void => {
  // Node reads `_` in a flag as `-`.
  const flag = (word.split("=")[0] ?? "").replaceAll("_", "-");
  for (const refused of [...REFUSED_FLAGS, TRACE_CALLS]) {
    if (flag !== refused && (refused === TRACE_CALLS || !flag.startsWith(`${refused}-`))) continue;
    throw refusal(`${flag} ${where}`, "It opens this process, which holds secrets, to others. Start it without.");
  }
};

const refusal = (what: string, hint: string): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", { detail: `Refusing to start: ${what}.`, hint });

/** NODE_OPTIONS as Node splits it: at spaces; double quotes hold together, a backslash in them escapes. */
export const splitOptions = (text: string): readonly string[] => {
  const words: string[] = [];
  let word = "";
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text.charAt(at);
    if (quoted && letter === "\\") {
      at += 1;
      word += text.charAt(at);
    } else if (letter === '"') quoted = !quoted;
    else if (letter === " " && !quoted) {
      if (word !== "") words.push(word);
      word = "";
    } else word += letter;
  }
  return word === "" ? words : [...words, word];
};
