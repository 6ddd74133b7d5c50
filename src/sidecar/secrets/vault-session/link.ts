/**
 * What a session needs of a vault: its calls in the session's own words, and why one of them can fail. The `sidekey` kind
 * makes one over the client; tests script one. Opens nothing.
 */
import type { EpochMs } from "../../../core/clock.ts";
import type { SecretValue } from "../../../core/secret-value.ts";
import type { ReplacedValue } from "../source.ts";

export interface TokenRequest {
  /** `secrets:use:PATH` each. */
  readonly scopes: readonly string[];
  /** To be resolved by the agent's place; what they lead to is covered too. */
  readonly names: readonly string[];
  /** `ms` */
  readonly ttlMs: number;
  /** In its place where a person has to approve it. `ms` */
  readonly approvedTtlMs?: number;
  readonly reason: string;
}

export interface IssuedToken {
  readonly token: string;
  /** By which events name it. */
  readonly id: string;
  /** From its making to its end, both by the vault's clock. `ms` */
  readonly lifeMs: number;
  /** Name to path, for those that resolve. */
  readonly names: ReadonlyMap<string, string>;
}

/** A person has to decide first. */
export interface PendingApproval {
  readonly approvalId: string;
}

export type ApprovalState = "pending" | "approved" | "denied" | "expired";

export interface RedeemRequest {
  /** One of the three. */
  readonly path?: string;
  readonly name?: string;
  readonly placeholder?: string;
  readonly version?: number;
  /** The version that is known: the same one is not sent again. */
  readonly ifVersion?: number;
  /** `host[:port]` that the value is for. */
  readonly authority: string;
  readonly agentName: string;
  readonly reason?: string;
}

export type Redeemed =
  | { readonly unchanged: true; readonly version: number }
  | {
      readonly unchanged: false;
      readonly value: SecretValue;
      readonly version: number;
      readonly path: string;
      /** Of a placeholder: name of the agent that it was given to. */
      readonly agent?: string;
      readonly notAfter?: EpochMs;
      /** It may be kept this long and no longer. `ms` */
      readonly maxAgeMs?: number;
      readonly hosts: readonly string[];
      readonly replaced: readonly ReplacedValue[];
    };

export type VaultSignal =
  /** The stream stands: from here on everything is said. */
  | {
      readonly type: "ready";
      /** How often it says something at least, where it promises that. `ms` */
      readonly beatMs?: number;
    }
  /** The connection is gone, and is being made again. */
  | { readonly type: "lost" }
  /** Something happened, and nobody knows what. */
  | { readonly type: "reset" }
  | { readonly type: "secret.updated" | "secret.deleted"; readonly path: string }
  | { readonly type: "token.revoked"; readonly id: string }
  | { readonly type: "sidecar.revoked"; readonly jkt: string };

/** Every call rejects with a `LinkFault` and with nothing else. */
export interface VaultLink {
  /** As messages and the log name it. */
  readonly address: string;
  /** Makes the sidecar's key known under the agent of the agent key. Once more changes nothing. */
  enrol(): Promise<void>;
  requestToken(request: TokenRequest): Promise<IssuedToken | PendingApproval>;
  approval(id: string): Promise<ApprovalState>;
  redeem(token: string, request: RedeemRequest, signal: AbortSignal | undefined): Promise<Redeemed>;
  /**
   * Makes its connection again, and goes on from where it was; throws a `LinkFault` that this does not mend. `alive`: called
   * when anything at all came.
   */
  events(token: string, signal: AbortSignal, alive: () => void): AsyncIterable<VaultSignal>;
  /** Whether a token that is not taken any more was taken back, or this sidecar was; false where nobody can tell. */
  isRevoked(id: string): Promise<boolean>;
  /** The token takes itself back. */
  revoke(token: string): Promise<void>;
  close(): Promise<void>;
}

export type FaultKind =
  /** No answer: also where its certificate is not trusted. */
  | "unreachable"
  /** It asks for time: 429, 5xx. */
  | "busy"
  /** An answer that no vault gives. */
  | "garbage"
  /** 401, and no more is known. */
  | "unauthorized"
  | "revoked"
  | "expired"
  /** The scope, or what the agent may do. */
  | "denied"
  /** The secret is of a tier that nobody approved this token for. */
  | "unapproved"
  /** The secret is bound to other hosts. */
  | "host"
  | "missing"
  /** What was asked for cannot be. */
  | "refused";

/** `message` is for the operator and holds no secret. */
export class LinkFault extends Error {
  readonly kind: FaultKind;
  readonly hint: string | undefined;
  /** Seconds. */
  readonly retryAfter: number | undefined;

  constructor(kind: FaultKind, message: string, more: { readonly hint?: string; readonly retryAfter?: number } = {}) {
    super(message);
    this.name = "LinkFault";
    this.kind = kind;
    this.hint = more.hint;
    this.retryAfter = more.retryAfter;
  }
}

/** What is no `LinkFault` breaks the link's word, and counts as an answer that no vault gives. Says nothing of it. */
export const toLinkFault = (thrown: unknown): LinkFault =>
  thrown instanceof LinkFault ? thrown : new LinkFault("garbage", "The call failed in a way that has no name.");

/** The vault said nothing about the token or the secret; it may in a moment. */
export const isOutageFault = ({ kind }: LinkFault): boolean =>
  kind === "unreachable" || kind === "busy" || kind === "garbage";
