/** What a running sidecar cannot change: a reload that would is refused by name, never half applied. */
import { isDeepStrictEqual } from "node:util";
import type { Finding } from "../../../config/problem.ts";
import type { SidecarConfig } from "./model.ts";

/** Open ports, files that are locked, the CA, the name in every record. */
const FIXED_KEYS = ["agent", "state", "listen", "tls", "audit"] as const satisfies readonly (keyof SidecarConfig)[];

/** One finding for each of these keys (or the part of `listen`, `tls` and `audit`) that `next` has otherwise. */
export const changedFixedKeys = (running: SidecarConfig, next: SidecarConfig): readonly Finding[] => {
  const findings: Finding[] = [];
  const compare = (path: readonly string[], before: unknown, after: unknown): void => {
    if (isDeepStrictEqual(before, after)) return;
    findings.push({ path, message: "cannot change on reload", hint: "Restart the sidecar to apply it." });
  };
  for (const key of FIXED_KEYS) {
    const [before, after] = [running[key], next[key]];
    // What follows from `state` by default is not a second change.
    if (typeof after === "string") compare([key], before, after);
    else if (running.state === next.state) {
      // Of both: a key that is written no more is a change too.
      for (const part of new Set([...Object.keys(before), ...Object.keys(after)])) {
        compare([key, asWritten(part)], Reflect.get(Object(before), part), Reflect.get(after, part));
      }
    }
  }
  return findings;
};

/** `caDays` is `ca_days` in the file. */
const asWritten = (part: string): string => part.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
