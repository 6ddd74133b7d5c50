/** Errors of connections as codes of ours. Codes only: their messages may quote what was received. */
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";

/** Thrown by Node when such a header of an answer is to be sent on. */
const NONSENSE: ReadonlySet<string> = new Set([
  "ERR_INVALID_CHAR",
  "ERR_INVALID_HTTP_TOKEN",
  "ERR_HTTP_INVALID_HEADER_VALUE",
]);

export const upstreamFailure = (error: unknown): SidekeyError => {
  if (isSidekeyError(error)) return error;
  const code =
    typeof error === "object" && error !== null && "code" in error && typeof error.code === "string" ? error.code : "";
  const options = { detail: `(${code || "no code"})`, cause: error };
  if (code === "ETIMEDOUT") return new SidekeyError("UPSTREAM_TIMEOUT", options);
  if (NONSENSE.has(code)) return new SidekeyError("UPSTREAM_BAD_RESPONSE", options);
  // A mistake of ours is told as one; whatever a socket or TLS reports is a connection that broke.
  return new SidekeyError(error instanceof TypeError && code === "" ? "INTERNAL" : "UPSTREAM_RESET", options);
};
