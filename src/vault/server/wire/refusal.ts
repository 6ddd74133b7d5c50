/** From an error to what a client reads. Must never pass on an error's own words, nor anything that was sent. */
import { randomUUID } from "node:crypto";
import { type ErrorCode, isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import { reasonOf, retryAfterOf, WIRE_ERRORS, type WireCode, type WireError, wireCodeOf, wireError } from "./error.ts";
import { BadJson } from "./json.ts";

export interface Refusal {
  /** For the audit: INTERNAL for what we did not foresee. */
  readonly error: SidekeyError;
  readonly code: WireCode;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Where a request is wrong, in our words. */
  readonly message: string | undefined;
}

/** Which of our errors an error of the framework is. */
const FRAMEWORK: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "VAULT_SERVER_TOO_LARGE",
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "VAULT_SERVER_MEDIA_TYPE",
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: "VAULT_SERVER_BAD_REQUEST",
  FST_ERR_BAD_URL: "VAULT_SERVER_BAD_REQUEST",
  FST_ERR_MAX_PARAM_LENGTH: "INGRESS_URI_TOO_LONG",
  FST_ERR_VALIDATION: "VAULT_SERVER_BAD_REQUEST",
};

export const refusalOf = (thrown: unknown): Refusal => {
  const error = isSidekeyError(thrown) ? thrown : foreseen(thrown);
  const code = wireCodeOf(error);
  const after = error.retryAfter ?? retryAfterOf(code);
  return {
    error,
    code,
    status: WIRE_ERRORS[code].status,
    headers: {
      ...(after !== undefined && { "retry-after": String(after) }),
      ...(code === "UNAUTHORIZED" && { "www-authenticate": 'Bearer realm="sidekey", DPoP algs="ES256"' }),
      ...(code === "USE_DPOP_NONCE" && { "www-authenticate": 'DPoP error="use_dpop_nonce", algs="ES256"' }),
      ...((code === "DRAINING" || code === "PAYLOAD_TOO_LARGE") && { connection: "close" }),
    },
    message: wrongPlace(thrown),
  };
};

const foreseen = (thrown: unknown): SidekeyError => {
  const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
  const known = thrown instanceof BadJson ? "VAULT_SERVER_BAD_REQUEST" : FRAMEWORK[code];
  return known === undefined ? new SidekeyError("INTERNAL", { cause: thrown }) : new SidekeyError(known);
};

/** Which field, where a schema of ours names it; never what was in it. */
const wrongPlace = (thrown: unknown): string | undefined => {
  if (!(thrown instanceof Error) || !("validation" in thrown) || !Array.isArray(thrown.validation)) return undefined;
  const context = "validationContext" in thrown ? String(thrown.validationContext) : "request";
  const [first]: readonly { readonly instancePath?: string; readonly keyword?: string }[] = thrown.validation;
  // Names further inside may be the client's own.
  const [, field = ""] = /^\/([a-z_-]{1,40})/.exec(first?.instancePath ?? "") ?? [];
  const what =
    first?.keyword === "unrecognized_keys"
      ? "it has a field that this call does not take"
      : "it is not as it has to be";
  return `${WIRE_ERRORS.VALIDATION_ERROR.message} See its ${context}${field === "" ? "" : `, '${field}'`}: ${what}.`;
};

export const bodyOf = ({ code, error, message }: Refusal, requestId: string): WireError =>
  wireError(code, requestId, message, reasonOf(error));

/** For what is no HTTP, or too much of it: there is no request to answer. `code`: of the parser. */
export const rawRefusal = (code: string | undefined): string => {
  const wire = RAW[code ?? ""] ?? "VALIDATION_ERROR";
  const body = JSON.stringify(wireError(wire, randomUUID()));
  return [
    `HTTP/1.1 ${WIRE_ERRORS[wire].status} Refused`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${Buffer.byteLength(body)}`,
    "cache-control: no-store",
    "x-content-type-options: nosniff",
    "connection: close",
    "",
    body,
  ].join("\r\n");
};

const RAW: Readonly<Record<string, WireCode>> = {
  HPE_HEADER_OVERFLOW: "HEADERS_TOO_LARGE",
  ERR_HTTP_REQUEST_TIMEOUT: "REQUEST_TIMEOUT",
};
