/**
 * What the reference knows and this version does not build. Such a key is refused by its name: ignoring it could leave
 * a protection off that somebody counts on, and "unknown key" would send them looking for a spelling mistake.
 */
import type { Finding, KeyPath } from "../../config/problem.ts";

/** `*` is any one part. A key that the schema takes in one form (`listen.health: off`) is here for its others. */
const LATER_KEYS: readonly string[] = ["agents"];

const LATER_KINDS: Readonly<Record<string, ReadonlySet<unknown>>> = {
  inject: new Set(["placeholder"]),
  source: new Set(["sidekey", "vault", "aws-secrets-manager", "agent-secret-store"]),
};

export const laterFinding = (path: KeyPath, value: unknown): Finding | undefined => {
  const key = LATER_KEYS.find((pattern) => covers(pattern.split("."), path));
  if (key !== undefined) {
    const name = key.replace("routes.*.", "");
    return { path, message: `${name} is not in this version`, hint: "Remove it." };
  }
  const role = kindRole(path);
  if (role === undefined || LATER_KINDS[role]?.has(value) !== true) return undefined;
  return { path, message: `${role} kind '${String(value)}' is not in this version` };
};

const covers = (pattern: readonly string[], path: KeyPath): boolean =>
  pattern.length === path.length && pattern.every((part, index) => part === "*" || part === path[index]);

/** `routes.NAME.inject.kind`, `routes.NAME.inject[0].kind`, `sources.NAME.kind`. */
const kindRole = (path: KeyPath): "inject" | "source" | undefined => {
  if (path.at(-1) !== "kind") return undefined;
  if (path[0] === "sources" && path.length === 3) return "source";
  return path[0] === "routes" && path[2] === "inject" ? "inject" : undefined;
};
