/**
 * What the reference knows and this version does not build. Such a key is refused by its name: ignoring it could leave
 * a protection off that somebody counts on, and "unknown key" would send them looking for a spelling mistake.
 */
import type { Finding, KeyPath } from "../../../config/problem.ts";

/** `*` is any one part. A key that the schema takes in one form (`listen.health: off`) is here for its others. */
const LATER_KEYS: readonly string[] = ["agents"];

/** `sources.NAME.kind` */
const LATER_SOURCES: ReadonlySet<unknown> = new Set(["vault", "aws-secrets-manager", "agent-secret-store"]);

export const laterFinding = (path: KeyPath, value: unknown): Finding | undefined => {
  const key = LATER_KEYS.find((pattern) => covers(pattern.split("."), path));
  if (key !== undefined) return { path, message: `${key} is not in this version`, hint: "Remove it." };
  if (!covers(["sources", "*", "kind"], path) || !LATER_SOURCES.has(value)) return undefined;
  return { path, message: `source kind '${String(value)}' is not in this version` };
};

const covers = (pattern: readonly string[], path: KeyPath): boolean =>
  pattern.length === path.length && pattern.every((part, index) => part === "*" || part === path[index]);
