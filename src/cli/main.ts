/** Ties the program to this process: its streams, its environment, its last resort for faults, its exit. */
import { isSidekeyError } from "../core/errors.ts";
import type { CommandSpec } from "./command.ts";
import { COMMANDS, GROUPS } from "./commands/index.ts";
import { EXIT_FAILED, EXIT_OK, EXIT_RUN_FAILED } from "./exit.ts";
import { currentProcess, refuseOpenProcess, shutReports } from "./guard.ts";
import { createProgram } from "./program.ts";
import { createTerminal, type Terminal, traceOf } from "./terminal.ts";

/** Commands that have a value in memory before, or without, a sidecar that sees to its core dumps itself. */
const HOLDS_SECRETS = /^(?:agent|approval|check|init|secret|token|vault)\b/;

const YAML_DEBUG = ["LOG_STREAM", "LOG_TOKENS"] as const;

export const main = async (argv: readonly string[]): Promise<void> => {
  const { stdin: input, stdout: output, stderr: errors } = process;
  // A copy: what is taken from this process below is still the caller's, and `run`'s child gets it.
  const environment = { ...process.env };
  shutReports();
  // With these `yaml` prints every part of a file it reads, straight to standard output.
  for (const name of YAML_DEBUG) delete process.env[name];
  const failed = argv[0] === "run" ? EXIT_RUN_FAILED : EXIT_FAILED;
  // The words of a fault we did not foresee may hold anything, so only its code is told.
  const lastResort = (fault: unknown): void => {
    const code = isSidekeyError(fault) ? fault.code : "INTERNAL";
    errors.write(
      `sidekey: ${code}: Stopped by a fault that nothing handled.\nhint: SIDEKEY_LOG_LEVEL=debug shows where.\n`,
    );
    if (environment["SIDEKEY_LOG_LEVEL"] === "debug") errors.write(`${traceOf(fault)}\n`);
    process.exit(failed);
  };
  process.on("uncaughtException", lastResort);
  process.on("unhandledRejection", lastResort);
  // A reader that has seen enough (`| head`) is no fault; a full disk is one. Nobody reading our errors stops nothing.
  output.on("error", (fault: NodeJS.ErrnoException) => process.exit(fault.code === "EPIPE" ? EXIT_OK : failed));
  errors.on("error", () => {});

  const streams = { input, output, errors };
  const terminal = createTerminal(streams, environment);
  const directory = process.cwd();
  const parts = {
    commands: COMMANDS,
    groups: GROUPS,
    async guard({ name }: CommandSpec) {
      refuseOpenProcess(currentProcess(environment));
      if (HOLDS_SECRETS.test(name)) await leaveNoCore(terminal);
    },
    terminal,
    streams,
    environment,
    directory,
  };
  const code = await createProgram(parts).run(argv);
  // Exit, not wait: a connection or a timer that something left open must not keep a command from ending.
  output.write("", () => {
    // Where what was printed is lost, the listener above has the last word.
    if (output.errored === null) process.exit(code);
  });
};

const leaveNoCore = async ({ note }: Pick<Terminal, "note">): Promise<void> => {
  const { forbidCoreDumps, readProcessLimits } = await import("../sidecar/app/process-limits.ts");
  forbidCoreDumps({ warn: note }, readProcessLimits());
};
