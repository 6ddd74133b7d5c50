/** The file, as `check` sees it. */
import { join } from "node:path";
import type { Problem } from "../../config/problem.ts";
import { toSidekeyError } from "../../core/errors.ts";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import type { Invocation } from "../command.ts";
import { DEFAULT_NAME, DEFAULT_TEXT, findConfigFile } from "../context.ts";
import { NO_FILE_HINT } from "../first-steps.ts";
import { findWeakLocalSecrets } from "../weak-secrets.ts";
import { type Finding, failed, finding } from "./finding.ts";

export interface FileCheck {
  readonly findings: readonly Finding[];
  /** Undefined when the file has problems; the defaults when there is no file. */
  readonly config: SidecarConfig | undefined;
}

export const checkFile = async (invocation: Invocation): Promise<FileCheck> => {
  const { loadConfig, readConfig } = await import("../../sidecar/app/config/config.ts");
  const { environment } = invocation;
  const file = findConfigFile(invocation);
  if (file === undefined) {
    const result = loadConfig({ file: join(invocation.directory, DEFAULT_NAME), text: DEFAULT_TEXT });
    const none = finding("warn", "file", `there is no ${DEFAULT_NAME} in ${invocation.directory}`, NO_FILE_HINT);
    return { findings: [none], config: "config" in result ? result.config : undefined };
  }
  try {
    const result = readConfig(file, undefined, environment);
    if ("problems" in result) {
      return { findings: result.problems.map((problem) => asFinding("fail", problem)), config: undefined };
    }
    const weak = (await findWeakLocalSecrets(result.config, invocation)).map(result.place);
    const warnings = [...result.warnings, ...weak].map((problem) => asFinding("warn", problem));
    const { length } = result.config.routes;
    const fine = finding("ok", "file", `${file}, ${length} ${length === 1 ? "route" : "routes"}`);
    return { findings: [fine, ...warnings], config: result.config };
  } catch (error) {
    return { findings: [failed("file", toSidekeyError(error))], config: undefined };
  }
};

const asFinding = (level: "fail" | "warn", { file, line, column, path, message, hint }: Problem): Finding =>
  finding(level, "file", `${file}:${line}:${column} ${path === "" ? "" : `${path}: `}${message}`, hint);
