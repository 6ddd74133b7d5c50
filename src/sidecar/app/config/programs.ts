/** The programs of `exec` sources: which they are, and whether they are there. */
import { resolve } from "node:path";
import type { Finding } from "../../../config/problem.ts";
import { findProgram } from "../../secrets/program.ts";
import type { SidecarConfig } from "./model.ts";

interface Named {
  readonly source: string;
  readonly program: string;
}

const named = ({ sources }: SidecarConfig): readonly Named[] =>
  sources.flatMap(({ name, fields }) =>
    fields.kind === "exec" ? [{ source: name, program: fields.command[0] ?? "" }] : [],
  );

/** For `check`: what `start` would not find. */
export const missingPrograms = (
  config: SidecarConfig,
  environment: Readonly<Record<string, string | undefined>>,
): readonly Finding[] =>
  named(config)
    .filter(
      ({ program }) => findProgram(program, { baseDir: config.baseDir, searchPath: environment["PATH"] }) === undefined,
    )
    .map(({ source }) => ({
      path: ["sources", source, "command", 0],
      message: "there is no such program",
      hint: "Write its path, or install it where the sidecar's PATH leads.",
    }));

/** Absolute paths, also of those that are not there. */
export const programsOf = (config: SidecarConfig, searchPath = process.env["PATH"]): readonly string[] =>
  named(config).map(
    ({ program }) => findProgram(program, { baseDir: config.baseDir, searchPath }) ?? resolve(config.baseDir, program),
  );
