/**
 * What went wrong with the database, in words that may be shown. PostgreSQL's own words stay out where they could quote a
 * row or a value, and the driver's errors travel with nothing: they hold the connection.
 */
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";

/** The connection is gone or of no use any more; what was asked over it can be asked over another one. */
export const isLost = (error: unknown): boolean => {
  const state = sqlState(error);
  if (state === undefined) return !isSidekeyError(error) && !(error instanceof TypeError);
  // Connection exceptions; shutdown, crash, start-up; ended by a time-out of the session; a server that only reads any more.
  return state.startsWith("08") || ["57P01", "57P02", "57P03", "57P05", "25P03", "25006"].includes(state);
};

/** An answer of the server that says for sure that the statement, or the commit, did not happen. */
export const isRefusal = (error: unknown): boolean =>
  sqlState(error) !== undefined && !isLost(error) && (error as { readonly severity?: unknown }).severity === "ERROR";

/**
 * PostgreSQL has undone the transaction as a whole, since it and another one waited for each other or read what the other
 * changed: begun again, it mostly comes through.
 */
export const isUndone = (error: unknown): boolean => ["40001", "40P01"].includes(sqlState(error) ?? "");

/** The server, the database or the user has no more connections. */
export const isFull = (error: unknown): boolean => sqlState(error) === "53300";

/** Of what was asked, the other end has no such thing; it is no PostgreSQL itself then. */
export const isProtocolFault = (error: unknown): boolean => sqlState(error) === "08P01";

/** Classes whose messages name users, databases, tables and settings, and never a value. */
const TELLING_CLASSES: ReadonlySet<string> = new Set(["08", "25", "28", "3D", "42", "53", "55", "57"]);
const MAX_WORDS = 200;

/** Errors of ours stay what they are, and so do our mistakes. */
export const storageFault = (error: unknown): unknown => {
  if (isSidekeyError(error) || error instanceof TypeError) return error;
  const state = sqlState(error);
  if (state !== undefined) {
    const words = TELLING_CLASSES.has(state.slice(0, 2)) && error instanceof Error ? ` ${oneLine(error.message)}` : "";
    return busy(
      `PostgreSQL refuses (${state}).${words}`,
      "See the database's log, and the user's rights in the database.",
    );
  }
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
  return busy(`PostgreSQL cannot be reached (${code ?? plainCause(error)}).`);
};

export const unknownOutcome = (): SidekeyError =>
  busy(
    "The connection was lost while the change was committed: it may be in, or not.",
    "Look whether it is there before you make it again.",
  );

export const busy = (
  detail: string,
  hint = "See whether the server runs, and its address, user, password and TLS in the URL.",
): SidekeyError => new SidekeyError("VAULT_STORE_BUSY", { detail, hint });

/** `SQLSTATE` (PostgreSQL documentation, appendix A); undefined for what is no answer of the server. */
const sqlState = (error: unknown): string | undefined =>
  error instanceof Error && "severity" in error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;

/** The driver's plain errors have no code; these are its words, and ours. */
const PLAIN_CAUSES: readonly (readonly [RegExp, string])[] = [
  [/does not support SSL/, "the server has no TLS; sslmode=disable in the URL would send all in cleartext"],
  [/establishing an SSL/, "TLS could not be begun"],
  [/timeout|timed out/i, "no answer in time"],
  [/password/i, "the server asks for a password, and the URL's does not do"],
];

const plainCause = (error: unknown): string => {
  const message = error instanceof Error ? error.message : "";
  return PLAIN_CAUSES.find(([pattern]) => pattern.test(message))?.[1] ?? "the connection was lost";
};

const oneLine = (text: string): string => text.replaceAll(/[^ -~]+/g, " ").slice(0, MAX_WORDS);
