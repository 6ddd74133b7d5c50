/**
 * Secrets that a program prints: the way to any password manager or vault with a command line. What runs, and with what
 * arguments and environment, is decided by the file alone; nothing of a request gets there.
 */
import * as z from "zod";
import { duration, variableName } from "../../../config/units.ts";
import type { Closable } from "../../../core/closer.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import { cutTrailingNewline, holdsControl, MAX_SECRET_BYTES } from "../../../core/secret-bytes.ts";
import { findProgram } from "../program.ts";
import { type ProgramEnd, runProgram } from "../run-program.ts";
import type { SecretRef, SecretSource, SourceDeps } from "../source.ts";
import { checkedSecret } from "../value-check.ts";

const PATH = "{path}";

const argument = z
  .string()
  .max(4096, "is too long for an argument")
  .refine((text) => !text.includes("\0"), "must not hold a NUL")
  .refine((text) => text === PATH || !text.includes(PATH), "must be '{path}' alone: it is one whole argument");

const command = z
  .array(argument)
  .min(1)
  .max(64)
  .refine(([program]) => program !== "" && program !== PATH, {
    path: [0],
    error: "must be a program: a path, or a name to be found in the sidecar's PATH",
  });

const fields = z.strictObject({
  kind: z.literal("exec"),
  command: command.describe("Program and arguments, started without a shell; {path} alone stands for PATH."),
  timeout: duration({ min: 1, max: 600_000 }).prefault("5s").describe("Then it is killed, with all that it started."),
  env: z
    .array(variableName)
    .max(64)
    .default([])
    .describe("Variables of the sidecar's environment that it gets; no others."),
});

/** Programs of one source at a time; others wait, within their timeout. */
const MAX_AT_ONCE = 4;
/** One more than a value and its line end can have. `bytes` */
const MAX_OUTPUT = MAX_SECRET_BYTES + 2;
/** sysexits.h: EX_NOINPUT and EX_NOPERM. */
const EXIT_MISSING = 66;
const EXIT_FORBIDDEN = 77;
/** Past its own timeout, for what comes on top of it. `ms` */
const MARGIN_MS = 500;

/** Errors of `create`: CONFIG_INVALID (no such program). */
export const exec: Kind<"exec", typeof fields, SourceDeps, SecretSource & Closable> = {
  kind: "exec",
  fields,
  summary: "What a program prints; one trailing newline is cut.",
  create({ command: [name = "", ...args], timeout: timeoutMs, env }, { name: source, baseDir, environment }) {
    const searchPath = environment["PATH"];
    const program = findProgram(name, { baseDir, searchPath });
    if (program === undefined) {
      throw new SidekeyError("CONFIG_INVALID", {
        detail: `\nsources.${source}.command: there is no program ${JSON.stringify(name)}.`,
        hint: "Write its path, or install it where the sidecar's PATH leads.",
      });
    }
    const passed = pick(environment, env);
    const running = new Set<() => void>();
    const waiting: (() => void)[] = [];
    let free = MAX_AT_ONCE;

    /** False: its turn did not come in time. */
    const takeTurn = (untilMs: number): Promise<boolean> => {
      if (free > 0) {
        free -= 1;
        return Promise.resolve(true);
      }
      return new Promise((resolve) => {
        const turn = (): void => {
          clearTimeout(timer);
          resolve(true);
        };
        const timer = setTimeout(() => {
          waiting.splice(waiting.indexOf(turn), 1);
          resolve(false);
        }, untilMs);
        waiting.push(turn);
      });
    };
    const giveTurn = (): void => {
      const next = waiting.shift();
      if (next === undefined) free += 1;
      else next();
    };

    return {
      name: source,
      fetchTimeoutMs: timeoutMs + MARGIN_MS,
      async fetch(ref, { signal }) {
        if (ref.version !== undefined) throw missing(`${ref.text}: programs have no versions.`);
        if (!isArgument(ref.path)) throw missing(`${ref.text}: no argument of a program.`);
        const began = performance.now();
        if (!(await takeTurn(timeoutMs))) throw unavailable(ref, `had no turn within ${timeoutMs} ms`);
        let end: ProgramEnd;
        try {
          end = await runProgram(
            {
              program,
              args: args.map((one) => (one === PATH ? ref.path : one)),
              environment: passed,
              directory: baseDir,
              maxBytes: MAX_OUTPUT,
              timeoutMs: Math.max(1, timeoutMs - (performance.now() - began)),
              signal,
            },
            (kill) => {
              running.add(kill);
              return () => void running.delete(kill);
            },
          );
        } finally {
          giveTurn();
        }
        return { value: checkedSecret(cutTrailingNewline(outputOf(end, ref, timeoutMs)), ref) };
      },
      close() {
        for (const kill of running) kill();
      },
    };
  },
};

const outputOf = (end: ProgramEnd, ref: SecretRef, timeoutMs: number): Buffer => {
  switch (end.kind) {
    case "timeout":
      throw unavailable(ref, `had not ended after ${timeoutMs} ms and was killed`);
    case "too much":
      throw new SidekeyError("SOURCE_BAD_VALUE", { detail: `${ref.text} is larger than 64 KiB.` });
    case "signal":
      throw unavailable(ref, `was ended by ${end.signal}`);
    case "unstarted":
      throw unavailable(ref, `could not be started (${end.code})`);
    case "exit":
      break;
  }
  const { code, output, errorBytes } = end;
  if (code === 0) return output;
  output.fill(0);
  const said = `ended with ${code}; the ${errorBytes} bytes on its standard error are not shown, they may hold a secret`;
  if (code === EXIT_MISSING) throw missing(`${ref.text}: the program ${said}.`);
  if (code === EXIT_FORBIDDEN)
    throw new SidekeyError("SOURCE_FORBIDDEN", { detail: `${ref.text}: the program ${said}.` });
  throw unavailable(ref, said);
};

/** What no program takes for an option, and no reader of a process list for another line. */
const isArgument = (path: string): boolean =>
  path !== "" && !path.startsWith("-") && path.length <= 4096 && !holdsControl(Buffer.from(path, "utf8"));

const pick = (
  environment: Readonly<Record<string, string | undefined>>,
  names: readonly string[],
): Readonly<Record<string, string>> => {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    if (value !== undefined) picked[name] = value;
  }
  return picked;
};

const unavailable = (ref: SecretRef, what: string): SidekeyError =>
  new SidekeyError("SOURCE_UNAVAILABLE", { detail: `${ref.text}: the program ${what}.` });

const missing = (detail: string): SidekeyError =>
  new SidekeyError("SOURCE_SECRET_MISSING", { detail, hint: "Store it where the source's command finds it." });
