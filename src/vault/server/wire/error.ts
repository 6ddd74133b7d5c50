/**
 * What a client of the vault reads when a call is refused: a code, a sentence, and what to do next, all from this table.
 * Must never pass on an error's own words: they may quote what was sent.
 */
import type { ErrorCode, SidekeyError } from "../../../core/errors.ts";

interface WireEntry {
  readonly status: number;
  readonly message: string;
  readonly hint: string;
  /** Seconds for `Retry-After`. */
  readonly retryAfter?: number;
}

const entry = (status: number, message: string, hint: string, retryAfter?: number): WireEntry =>
  retryAfter === undefined ? { status, message, hint } : { status, message, hint, retryAfter };

export const WIRE_ERRORS = {
  VALIDATION_ERROR: entry(400, "The request is not what this call takes.", "See /v1/openapi.json."),
  UNAUTHORIZED: entry(
    401,
    "The key or token is missing, unknown, expired, used up, or not for this caller.",
    "Send Authorization: Bearer KEY, or a token that POST /v1/tokens gave.",
  ),
  USE_DPOP_NONCE: entry(401, "The proof needs the server's nonce.", "Send the proof again with the DPoP-Nonce given."),
  SCOPE_DENIED: entry(403, "The key or token does not allow this.", "Ask for a token with a scope that covers it."),
  APPROVAL_REQUIRED: entry(
    403,
    "An operator has to approve this first.",
    "Ask for a token with POST /v1/tokens, and wait for its approval.",
  ),
  ORIGIN_DENIED: entry(403, "Requests from web pages are refused.", "Call from a program, not from a page."),
  NOT_FOUND: entry(404, "There is nothing under this path.", "See /v1/openapi.json for the calls there are."),
  SECRET_NOT_FOUND: entry(
    404,
    "There is no such secret, or no such version of it.",
    "List what there is: GET /v1/secrets.",
  ),
  METHOD_NOT_ALLOWED: entry(405, "This method is not for this path.", "See the Allow header."),
  REQUEST_TIMEOUT: entry(408, "The request did not arrive in time.", "Send it again."),
  CONFLICT: entry(
    409,
    "There is one of this name already, or one in its way.",
    "Change what is there, or take another name.",
  ),
  LIMIT_REACHED: entry(
    409,
    "There are as many of these as there may be.",
    "Revoke what is not used any more, or let an operator raise the limit.",
  ),
  SECRET_EXPIRED: entry(410, "The secret's time is over.", "Store a new value."),
  IDEMPOTENCY_UNSETTLED: entry(
    409,
    "A request with this Idempotency-Key was begun, and its answer is not known.",
    "Ask again shortly; then look at what was done before you make it anew under another key.",
    1,
  ),
  IDEMPOTENCY_KEY_REUSED: entry(
    422,
    "This Idempotency-Key came with another request before.",
    "Make a new key for each request, and repeat it with the same request alone.",
  ),
  PAYLOAD_TOO_LARGE: entry(413, "The body is too large.", "Send less."),
  URI_TOO_LONG: entry(414, "The path is too long.", "Shorten it."),
  UNSUPPORTED_MEDIA_TYPE: entry(415, "The body is not JSON.", "Send content-type: application/json."),
  RATE_LIMITED: entry(429, "Too many requests.", "Wait as long as Retry-After says.", 1),
  HEADERS_TOO_LARGE: entry(431, "The request's headers are too large.", "Send fewer or shorter ones."),
  INTERNAL: entry(500, "The vault failed.", "See the server's log with this request id."),
  BACKEND_UNAVAILABLE: entry(502, "What this secret refers to cannot be reached.", "Try again later.", 5),
  AUDIT_UNAVAILABLE: entry(503, "The audit record cannot be written.", "Free space or repair the audit log.", 1),
  STORE_UNAVAILABLE: entry(503, "The vault's store cannot be used.", "See the server's log.", 1),
  DRAINING: entry(503, "The vault is stopping.", "Try again shortly.", 1),
  OVERLOADED: entry(503, "The vault is at its limit.", "Try again shortly.", 1),
} as const satisfies Record<string, WireEntry>;

export type WireCode = keyof typeof WIRE_ERRORS;

/** What a client reads for an error of ours; what is not here is INTERNAL, and in the log. */
const BY_CODE: Partial<Record<ErrorCode, WireCode>> = {
  CONFIG_USAGE: "VALIDATION_ERROR",
  IDENTITY_BAD_SCOPE: "VALIDATION_ERROR",
  VAULT_BAD_IMPORT: "VALIDATION_ERROR",
  VAULT_BAD_METADATA: "VALIDATION_ERROR",
  VAULT_BAD_PATH: "VALIDATION_ERROR",
  VAULT_BAD_VALUE: "VALIDATION_ERROR",
  VAULT_SERVER_BAD_REQUEST: "VALIDATION_ERROR",
  IDENTITY_KEY_INVALID: "UNAUTHORIZED",
  IDENTITY_ADDRESS: "UNAUTHORIZED",
  IDENTITY_TOKEN_SPENT: "UNAUTHORIZED",
  IDENTITY_PROOF_INVALID: "UNAUTHORIZED",
  IDENTITY_SIDECAR_REVOKED: "UNAUTHORIZED",
  IDENTITY_PROOF_STALE: "USE_DPOP_NONCE",
  IDENTITY_TOKEN_EXPIRED: "UNAUTHORIZED",
  IDENTITY_TOKEN_INVALID: "UNAUTHORIZED",
  IDENTITY_TOKEN_REVOKED: "UNAUTHORIZED",
  IDENTITY_SCOPE_DENIED: "SCOPE_DENIED",
  IDENTITY_APPROVAL_REQUIRED: "APPROVAL_REQUIRED",
  POLICY_SECRET_HOST: "SCOPE_DENIED",
  INGRESS_BROWSER: "ORIGIN_DENIED",
  INGRESS_HEADERS_TOO_LARGE: "HEADERS_TOO_LARGE",
  INGRESS_TIMEOUT: "REQUEST_TIMEOUT",
  INGRESS_URI_TOO_LONG: "URI_TOO_LONG",
  VAULT_SERVER_NOT_FOUND: "NOT_FOUND",
  IDENTITY_AGENT_UNKNOWN: "NOT_FOUND",
  IDENTITY_SIDECAR_UNKNOWN: "NOT_FOUND",
  VAULT_APPROVAL_UNKNOWN: "NOT_FOUND",
  VAULT_SECRET_MISSING: "SECRET_NOT_FOUND",
  VAULT_SECRET_EXPIRED: "SECRET_EXPIRED",
  VAULT_PATH_TAKEN: "CONFLICT",
  IDENTITY_AGENT_EXISTS: "CONFLICT",
  IDENTITY_APPROVAL_DECIDED: "CONFLICT",
  IDENTITY_LAST_OPERATOR: "CONFLICT",
  IDENTITY_APPROVAL_LIMIT: "RATE_LIMITED",
  IDENTITY_SIDECAR_LIMIT: "LIMIT_REACHED",
  VAULT_BACKEND_UNAVAILABLE: "BACKEND_UNAVAILABLE",
  VAULT_IDEMPOTENCY_REUSED: "IDEMPOTENCY_KEY_REUSED",
  VAULT_IDEMPOTENCY_UNSETTLED: "IDEMPOTENCY_UNSETTLED",
  VAULT_SERVER_METHOD: "METHOD_NOT_ALLOWED",
  VAULT_SERVER_TOO_LARGE: "PAYLOAD_TOO_LARGE",
  VAULT_SERVER_RATE_LIMITED: "RATE_LIMITED",
  VAULT_SERVER_MEDIA_TYPE: "UNSUPPORTED_MEDIA_TYPE",
  AUDIT_UNAVAILABLE: "AUDIT_UNAVAILABLE",
  VAULT_KEY_UNREADABLE: "STORE_UNAVAILABLE",
  VAULT_KEY_WRONG: "STORE_UNAVAILABLE",
  VAULT_STORE_BUSY: "STORE_UNAVAILABLE",
  VAULT_STORE_DAMAGED: "STORE_UNAVAILABLE",
  DRAINING: "DRAINING",
  OVERLOADED: "OVERLOADED",
};

export const wireCodeOf = (error: SidekeyError): WireCode => BY_CODE[error.code] ?? "INTERNAL";

export interface WireError {
  readonly error: {
    readonly code: WireCode;
    readonly message: string;
    readonly request_id: string;
    readonly hint: string;
    /** What the code alone does not tell. */
    readonly reason?: WireReason;
  };
  /** The message again, where some clients look for it. */
  readonly detail: string;
}

/** `message`: words of ours that say more than the table's, such as which field is wrong. */
export const wireError = (code: WireCode, requestId: string, message?: string, reason?: WireReason): WireError => {
  const known = WIRE_ERRORS[code];
  const text = message ?? known.message;
  const error = { code, message: text, request_id: requestId, hint: known.hint, ...(reason && { reason }) };
  return { error, detail: text };
};

/** `hosts`: the secret is bound to others. */
export const WIRE_REASONS = ["hosts"] as const;
export type WireReason = (typeof WIRE_REASONS)[number];

/** Only to a caller who may use the secret. */
export const reasonOf = ({ code }: SidekeyError): WireReason | undefined =>
  code === "POLICY_SECRET_HOST" ? "hosts" : undefined;

/** Seconds, where trying again makes sense. */
export const retryAfterOf = (code: WireCode): number | undefined => {
  const known: WireEntry = WIRE_ERRORS[code];
  return known.retryAfter;
};
