/**
 * Scopes `secrets:ACTION:GLOB`: what a token may do with which secrets. `*` in GLOB stands for any run of characters,
 * `/` too; both ends are anchored; nothing else is special. Matching uses no regular expression and must never
 * backtrack, since globs come from outside.
 */
import { SidekeyError } from "../core/errors.ts";

export type SecretAction = "read" | "write" | "delete" | "use";

export interface Scope {
  readonly action: SecretAction | "*";
  readonly glob: string;
  /** `secrets:ACTION:GLOB` */
  readonly text: string;
  /** The literal pieces of `glob` between its stars; one piece = no star. */
  readonly pieces: readonly string[];
}

/** In characters; as long as the longest secret path. */
export const MAX_GLOB_LENGTH = 1024;

const ACTIONS: ReadonlySet<string> = new Set(["read", "write", "delete", "use", "*"]);
const GLOB = /^[A-Za-z0-9._/*-]+$/;

const isAction = (text: string): text is Scope["action"] => ACTIONS.has(text);

/** Errors: IDENTITY_BAD_SCOPE. */
export const parseScope = (text: string): Scope => {
  const [resource = "", action = "", glob = "", ...rest] = text.split(":");
  if (resource !== "secrets" || rest.length > 0) throw badScope(text, "it is not secrets:ACTION:GLOB");
  if (!isAction(action)) throw badScope(text, "the action is none of read, write, delete, use, *");
  if (glob === "" || glob.length > MAX_GLOB_LENGTH) throw badScope(text, "the path is empty or too long");
  if (!GLOB.test(glob)) throw badScope(text, "the path may hold letters, digits, '.', '_', '-', '/' and '*'");
  for (const segment of glob.split("/")) {
    if (segment === "" || segment === "." || segment === "..") {
      throw badScope(text, "no secret path has an empty, '.' or '..' segment, so it covers nothing");
    }
  }
  return { action, glob, text, pieces: glob.split("*") };
};

/** The space-separated list of a token's `scope` claim, without repeats. Errors: IDENTITY_BAD_SCOPE. */
export const parseScopes = (text: string): readonly Scope[] => {
  const scopes = new Map<string, Scope>();
  for (const word of text.split(" ")) scopes.set(word, parseScope(word));
  return [...scopes.values()];
};

export const formatScopes = (scopes: readonly Scope[]): string => scopes.map(({ text }) => text).join(" ");

/** Whether some scope allows `action` on `path`. `*` as a scope's action is read, write and delete, never use. */
export const scopesCover = (scopes: readonly Scope[], action: SecretAction, path: string): boolean => {
  for (const scope of scopes) {
    const allowed = scope.action === action || (scope.action === "*" && action !== "use");
    if (allowed && piecesMatch(scope.pieces, path)) return true;
  }
  return false;
};

/**
 * Whether every scope asked for lies within one that is allowed: what the one matches, the other matches. A star of the
 * request is taken for a sign of its own, which only a star of the allowed glob can cover. `*` as an action may be made up
 * of several allowed scopes; a glob that only two globs together would cover is not seen as covered.
 */
export const scopesWithin = (requested: readonly Scope[], allowed: readonly Scope[]): boolean =>
  requested.every(({ action, glob }) => actionsOf(action).every((one) => scopesCover(allowed, one, glob)));

const actionsOf = (action: Scope["action"]): readonly SecretAction[] =>
  action === "*" ? ["read", "write", "delete"] : [action];

/**
 * The leftmost place for each middle piece is enough: if any placement fits, that one does. So the cursor only moves
 * forward.
 */
const piecesMatch = (pieces: readonly string[], path: string): boolean => {
  const first = pieces[0] ?? "";
  if (pieces.length === 1) return path === first;
  const last = pieces[pieces.length - 1] ?? "";
  const end = path.length - last.length;
  let cursor = first.length;
  if (cursor > end || !path.startsWith(first) || !path.endsWith(last)) return false;
  for (let index = 1; index < pieces.length - 1; index += 1) {
    const piece = pieces[index] ?? "";
    const found = path.indexOf(piece, cursor);
    if (found === -1) return false;
    cursor = found + piece.length;
    if (cursor > end) return false;
  }
  return true;
};

const badScope = (text: string, why: string): SidekeyError =>
  new SidekeyError("IDENTITY_BAD_SCOPE", { detail: `${JSON.stringify(text.slice(0, 120))}: ${why}.` });
