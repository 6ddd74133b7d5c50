/** Errors of the HTTP client below us as codes of ours. Codes only: their messages may quote what was received. */
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";

const TIMEOUTS: ReadonlySet<string> = new Set([
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "ETIMEDOUT",
]);

const UNREACHABLE: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EADDRNOTAVAIL",
]);

const RESETS: ReadonlySet<string> = new Set([
  "UND_ERR_SOCKET",
  "ECONNRESET",
  "EPIPE",
  "UND_ERR_ABORTED",
  "UND_ERR_DESTROYED",
]);

/** Thrown where the bytes received make no sense: by undici's own checks, or by Node when such a header is to be sent on. */
const NONSENSE: ReadonlySet<string> = new Set([
  "UND_ERR_HEADERS_OVERFLOW",
  "ERR_ASSERTION",
  "ERR_INVALID_CHAR",
  "ERR_INVALID_HTTP_TOKEN",
  "ERR_HTTP_INVALID_HEADER_VALUE",
]);

/** undici's words for an answer it can't use, under the code that it has for every broken socket; see the test. */
const BAD_ANSWERS: ReadonlySet<string> = new Set(["bad response", "bad upgrade"]);

export const upstreamFailure = (error: unknown): SidekeyError => {
  if (isSidekeyError(error)) return error;
  const cause = error instanceof Error && isSidekeyError(error.cause) ? error.cause : undefined;
  if (cause !== undefined) return cause;
  const code =
    typeof error === "object" && error !== null && "code" in error && typeof error.code === "string" ? error.code : "";
  const options = { detail: `(${code || "no code"})`, cause: error };
  if (TIMEOUTS.has(code)) return new SidekeyError("UPSTREAM_TIMEOUT", options);
  if (UNREACHABLE.has(code)) return new SidekeyError("UPSTREAM_UNREACHABLE", options);
  if (code === "UND_ERR_SOCKET" && error instanceof Error && BAD_ANSWERS.has(error.message)) {
    return new SidekeyError("UPSTREAM_BAD_RESPONSE", options);
  }
  if (RESETS.has(code)) return new SidekeyError("UPSTREAM_RESET", options);
  // The parser's errors have a code or none, as it happens; their name is sure.
  if (
    code.startsWith("HPE_") ||
    (error instanceof Error && error.name === "HTTPParserError") ||
    code.startsWith("UND_ERR_RES") ||
    NONSENSE.has(code)
  ) {
    return new SidekeyError("UPSTREAM_BAD_RESPONSE", options);
  }
  return new SidekeyError("INTERNAL", options);
};
