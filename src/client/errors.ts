/**
 * What a call to a vault can fail with: one class for each thing a caller can do about it. A message says where and what,
 * in our own words; it must never hold a key, a token or a value, so the vault's own words are taken only when nothing
 * that was sent stands in them.
 */
import { type ErrorCode, SidekeyError } from "../core/errors.ts";

export interface VaultErrorFacts {
  /** Operator-facing words. */
  readonly detail?: string;
  readonly hint?: string;
  /** HTTP status of the vault's answer; undefined = there was none. */
  readonly httpStatus?: number;
  /** The vault's own code: `SCOPE_DENIED`. */
  readonly vaultCode?: string;
  /** Why, in the vault's word for it, where its code alone does not say: `revoked`. */
  readonly vaultReason?: string;
  /** By which the vault's audit knows the call. */
  readonly requestId?: string;
  /** Seconds. */
  readonly retryAfter?: number;
  readonly cause?: unknown;
}

/** Any failure of a call to a vault. `code` is one of the table of core/errors.ts. */
export class VaultClientError extends SidekeyError {
  readonly httpStatus: number | undefined;
  readonly vaultCode: string | undefined;
  readonly vaultReason: string | undefined;
  readonly requestId: string | undefined;

  constructor(code: ErrorCode, facts: VaultErrorFacts = {}) {
    const { httpStatus, vaultCode, vaultReason, requestId, ...options } = facts;
    super(code, options);
    this.name = new.target.name;
    this.httpStatus = httpStatus;
    this.vaultCode = vaultCode;
    this.vaultReason = vaultReason;
    this.requestId = requestId;
  }
}

/** The key or token is unknown, expired, revoked, or missing. */
export class AuthError extends VaultClientError {
  constructor(facts?: VaultErrorFacts) {
    super("CLIENT_UNAUTHORIZED", facts);
  }
}

/** The key or token is good, and does not cover this. */
export class ScopeError extends VaultClientError {
  constructor(facts?: VaultErrorFacts) {
    super("CLIENT_SCOPE_DENIED", facts);
  }
}

/** A person has to decide first; the same call again, once approved, succeeds. */
export class ApprovalRequiredError extends VaultClientError {
  /** As `approval list` shows it; empty when the vault did not say. */
  readonly approvalId: string;

  constructor(approvalId: string, facts?: VaultErrorFacts) {
    super("CLIENT_APPROVAL_REQUIRED", facts);
    this.approvalId = approvalId;
  }
}

/** What the call names is not there: an agent, a token, an approval. */
export class NotFoundError extends VaultClientError {
  constructor(facts?: VaultErrorFacts, code: ErrorCode = "CLIENT_NOT_FOUND") {
    super(code, facts);
  }
}

/** There is no such secret, or not in that version. */
export class SecretNotFoundError extends NotFoundError {
  constructor(facts?: VaultErrorFacts) {
    super(facts, "CLIENT_SECRET_MISSING");
  }
}

export class SecretExpiredError extends VaultClientError {
  constructor(facts?: VaultErrorFacts) {
    super("CLIENT_SECRET_EXPIRED", facts);
  }
}

/** It is there already, or something else is in its place. */
export class ConflictError extends VaultClientError {
  constructor(facts?: VaultErrorFacts) {
    super("CLIENT_CONFLICT", facts);
  }
}

/** What was asked for cannot be, whoever asks. */
export class ValidationError extends VaultClientError {
  constructor(facts?: VaultErrorFacts) {
    super("CLIENT_REFUSED", facts);
  }
}

/** `retryAfter` has the seconds the vault asks for. */
export class RateLimitError extends VaultClientError {
  constructor(facts?: VaultErrorFacts) {
    super("CLIENT_RATE_LIMITED", facts);
  }
}

/** The vault is there and cannot do its work: its store, its audit, or it is stopping. */
export class UnavailableError extends VaultClientError {
  constructor(facts?: VaultErrorFacts) {
    super("CLIENT_UNAVAILABLE", facts);
  }
}

export interface NetworkFacts extends VaultErrorFacts {
  /** The request may have reached the vault. */
  readonly sent: boolean;
}

/** No answer, or none that can be used. */
export class NetworkError extends VaultClientError {
  /** The request may have reached the vault, and may have had its effect. */
  readonly sent: boolean;

  constructor({ sent, ...facts }: NetworkFacts, code: ErrorCode = "CLIENT_UNREACHABLE") {
    super(code, facts);
    this.sent = sent;
  }
}

/** An answer that no vault gives: not JSON, the wrong shape, too long, cut off, a redirect. */
export class BadAnswerError extends NetworkError {
  constructor(facts: VaultErrorFacts) {
    super({ ...facts, sent: true }, "CLIENT_BAD_ANSWER");
  }
}
