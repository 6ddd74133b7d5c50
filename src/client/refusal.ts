/** From an answer of the vault that is no success to the error that names it. */
import * as z from "zod";
import {
  ApprovalRequiredError,
  AuthError,
  BadAnswerError,
  ConflictError,
  NotFoundError,
  RateLimitError,
  ScopeError,
  SecretExpiredError,
  SecretNotFoundError,
  UnavailableError,
  ValidationError,
  type VaultClientError,
  type VaultErrorFacts,
} from "./errors.ts";
import { readJson } from "./transport/json.ts";
import type { WireAnswer } from "./transport/wire.ts";

const refusalSchema = z.object({
  error: z.object({
    code: z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/),
    message: z.string().optional().catch(undefined),
    hint: z.string().optional().catch(undefined),
    request_id: z.string().optional().catch(undefined),
    approval_id: z.string().optional().catch(undefined),
    reason: z
      .string()
      .regex(/^[a-z][a-z_-]{0,31}$/)
      .optional()
      .catch(undefined),
  }),
});

/** Longest of the vault's own words that is told on. */
const MAX_WORDS = 300;
/** A longer wait is the caller's to decide on. `s` */
const MAX_RETRY_AFTER = 24 * 60 * 60;

/**
 * `sensitive`: what was sent and must not come back in a message.
 * `what`: what the call is about, for people: a path, a name.
 */
export const refusalOf = (
  answer: WireAnswer,
  origin: string,
  what: string | undefined,
  sensitive: readonly string[],
): VaultClientError => {
  const { status } = answer;
  const parsed = refusalSchema.safeParse(readJson(answer, origin, "quiet"));
  const retryAfter = retryAfterOf(answer);
  if (!parsed.success) {
    const facts = { httpStatus: status, ...(retryAfter !== undefined && { retryAfter }) };
    // Whatever stands before a vault says these without being one.
    if (status === 429) return new RateLimitError(facts);
    if (status >= 500) return new UnavailableError({ ...facts, detail: `${origin} answers with ${status}.` });
    return new BadAnswerError({
      ...facts,
      detail: `${origin} answers with ${status}, and not as a vault does.`,
      hint: "Check that the address is a vault's, and what stands between.",
    });
  }
  const {
    code,
    message = "",
    hint = "",
    request_id: requestId = "",
    approval_id: approvalId,
    reason,
  } = parsed.data.error;
  const said = plainWords(message, sensitive);
  const next = plainWords(hint, sensitive);
  const facts: VaultErrorFacts = {
    httpStatus: status,
    vaultCode: code,
    ...(reason !== undefined && { vaultReason: reason }),
    ...(next !== "" && { hint: next }),
    ...(/^[\w.:-]{1,128}$/.test(requestId) && { requestId }),
    ...(retryAfter !== undefined && { retryAfter }),
  };
  const make = (words: string): VaultClientError => {
    const detail = [what === undefined ? "" : `${what}:`, words].filter((one) => one !== "").join(" ");
    return errorFor(status, code, approvalId ?? "", { ...facts, ...(detail !== "" && { detail }) });
  };
  const error = make(said === "" ? `${origin} answers with ${code}.` : said);
  // Both of the same mind and in the same words: once is enough.
  return error.publicMessage === said ? make(origin) : error;
};

const errorFor = (status: number, code: string, approvalId: string, facts: VaultErrorFacts): VaultClientError => {
  switch (status) {
    case 401:
      return new AuthError(facts);
    case 403:
      if (code === "APPROVAL_REQUIRED") return new ApprovalRequiredError(approvalId, facts);
      return code === "UNAUTHORIZED" ? new AuthError(facts) : new ScopeError(facts);
    case 404:
      return code === "SECRET_NOT_FOUND" ? new SecretNotFoundError(facts) : new NotFoundError(facts);
    case 409:
      return new ConflictError(facts);
    case 410:
      return new SecretExpiredError(facts);
    case 429:
      return new RateLimitError(facts);
    default:
      return status >= 500 ? new UnavailableError(facts) : new ValidationError(facts);
  }
};

/** Printable, short, and without anything that was sent. */
const plainWords = (text: string, sensitive: readonly string[]): string => {
  const line = text.replaceAll(/[^\x20-\x7e]+/g, " ").trim();
  if (sensitive.some((one) => one.length > 0 && text.includes(one))) return "";
  return line.length > MAX_WORDS ? `${line.slice(0, MAX_WORDS)}…` : line;
};

/** RFC 9110 section 10.2.3, in seconds. A date counts from the answer's own, since this program's clock may be wrong. */
const retryAfterOf = ({ header }: Pick<WireAnswer, "header">): number | undefined => {
  const text = header("retry-after") ?? "";
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : (timeOf(text) - timeOf(header("date") ?? "")) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 0), MAX_RETRY_AFTER) : undefined;
};

/** RFC 9110 section 5.6.7, in the one form that may be sent. NaN for everything else. */
const timeOf = (text: string): number =>
  /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text) ? Date.parse(text) : Number.NaN;
