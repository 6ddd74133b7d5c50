/** How long a CA still lasts, for `check` and `start`. Reads certificates alone, never a key. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createProblem, type Problem } from "../../config/problem.ts";
import type { EpochMs } from "../../core/clock.ts";
import type { SidecarConfig } from "./config/model.ts";

/** Time to hand out another one. `ms` */
const WARN_BEFORE = 30 * 86_400_000;

export const endsSoon = (notAfter: EpochMs, now: EpochMs): boolean => now >= notAfter - WARN_BEFORE;

/** What `check` says about the CA of `start`: nothing where there is none yet, or where it lasts. */
export const caWarnings = ({ state }: Pick<SidecarConfig, "state">, now: EpochMs): readonly Problem[] => {
  const path = join(state, "ca.pem");
  let notAfter: EpochMs;
  try {
    notAfter = Date.parse(new X509Certificate(readFileSync(path)).validTo);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    return [warning(path, "is not a certificate that can be read", "'sidekey start' will say more.")];
  }
  if (!endsSoon(notAfter, now)) return [];
  const end = new Date(notAfter).toISOString();
  const message =
    now >= notAfter ? `the CA expired ${end}, and 'sidekey start' refuses it` : `the CA ends soon, ${end}`;
  return [warning(path, message, "Make the next one sign: sidekey ca rotate.")];
};

const warning = (path: string, message: string, hint: string): Problem =>
  createProblem(path, { line: 1, column: 1 }, { path: [], message, hint });
