/** What a secret is to the world around the vault: the words, the shapes, the interface. No code that touches a store. */
import type { EpochMs } from "../../core/clock.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import type { Scope } from "../../identity/scope.ts";

/** From the least to the most guarded. */
export const SECRET_TIERS = ["standard", "sensitive", "critical"] as const;
export type SecretTier = (typeof SECRET_TIERS)[number];

export const SECRET_TYPES = [
  "api_key",
  "oauth_token",
  "db_credential",
  "ssh_key",
  "certificate",
  "payment_credential",
  "custom",
] as const;

export const SECRET_CATEGORIES = ["provider", "infrastructure", "integration", "agent"] as const;
export type SecretCategory = (typeof SECRET_CATEGORIES)[number];

export const REFERENCE_BACKENDS = ["aws_sm", "vault"] as const;
export type ReferenceBackend = (typeof REFERENCE_BACKENDS)[number];

/** A value that is kept elsewhere, and never here. */
export interface SecretReference {
  readonly backend: ReferenceBackend;
  /** An ARN, or a path: 1 to 2,048 printable characters without a space. */
  readonly ref: string;
}

export type JsonObject = { readonly [key: string]: unknown };

export interface SecretInfo {
  readonly path: string;
  /** The same for all versions; another one when the secret was removed and made again. A UUID. */
  readonly id: string;
  /** The newest version, counted from 1. */
  readonly version: number;
  /** One of SECRET_TYPES, or a word of an earlier Sidekey's. */
  readonly type: string | undefined;
  /** Another word, of an earlier Sidekey's, counts as `sensitive`. */
  readonly tier: SecretTier;
  readonly category: SecretCategory | undefined;
  /** What its owner says about it; no secret. */
  readonly metadata: JsonObject;
  /** Canonical names of the only hosts it may go to; empty = any. */
  readonly hosts: readonly string[];
  /** From here on the newest version is not read. */
  readonly expiresAt: EpochMs | undefined;
  /** Where the newest version's value is, when it is not here. */
  readonly reference: SecretReference | undefined;
  readonly createdAt: EpochMs;
  /** Of the newest version. */
  readonly updatedAt: EpochMs;
}

export interface StoredSecret extends SecretInfo {
  /** Of `version`, which is then the version asked for, as are `expiresAt` and `reference`. */
  readonly value: SecretValue;
  /** From here on this version is not read: it expires, or a rotation has put an end to it. */
  readonly readableUntil: EpochMs | undefined;
}

export interface SecretVersion {
  readonly version: number;
  readonly createdAt: EpochMs;
  /** Who wrote it, as the one who called said; absent where nobody said. */
  readonly by?: string | undefined;
  /** From here on it is closed: a rotation put an end to it. Absent: readable as long as the secret is there. */
  readonly readableUntil?: EpochMs | undefined;
  /** From here on it is not read: its own time was over. */
  readonly expiresAt?: EpochMs | undefined;
  readonly reference?: SecretReference | undefined;
  /** The earlier version that it brought back. */
  readonly restored?: number | undefined;
}

export interface WriteOptions {
  /** Who writes, for `history`: 1 to 64 printable characters. */
  readonly by?: string;
  /**
   * Asked for the tier of a secret that is there, in the transaction that changes it; what it throws undoes that. It may be
   * asked more than once, and must change nothing.
   */
  readonly allow?: (tier: SecretTier) => void;
}

/** What is left out stays as it was. */
export interface DescribeOptions extends WriteOptions {
  /** A word of `[A-Za-z0-9._-]{1,64}`; see SECRET_TYPES. */
  readonly type?: string;
  /** As `type`; see SECRET_TIERS. */
  readonly tier?: string;
  readonly category?: SecretCategory;
  /** At most 8 KiB as JSON and 8 levels deep; takes the place of what was there. */
  readonly metadata?: JsonObject;
  /** Host names or addresses, without port; an empty list unbinds. */
  readonly hosts?: readonly string[];
  /** null: never. A new version without it keeps the end of the one before, unless that is past. */
  readonly expiresAt?: EpochMs | null;
}

export interface SetOptions extends DescribeOptions {
  /** Refuse (VAULT_PATH_TAKEN) when the secret is there already. */
  readonly create?: boolean;
  /** Refuse (VAULT_SECRET_MISSING) when there is none, so that one that was just removed is not made anew. */
  readonly update?: boolean;
}

export interface RotateOptions extends DescribeOptions {
  /** How long the versions before stay readable by their number, `ms`; default 0: closed at once. */
  readonly graceMs?: number;
}

export interface ImportOptions extends WriteOptions {
  readonly dryRun?: boolean;
  /** Default true: a secret that is there gets a new version where its value differs; false: it is left alone. */
  readonly overwrite?: boolean;
  /** Default true; false: what is there is taken for another value, so that nothing is told about it. */
  readonly compare?: boolean;
  /** Of secrets that are new; what is there keeps its own. */
  readonly describe?: Pick<DescribeOptions, "type" | "tier" | "category" | "metadata">;
}

export interface ImportEntry {
  readonly path: string;
  readonly value: SecretValue;
  /** Binds a new secret to these; what is there already keeps what it is bound to. */
  readonly hosts?: readonly string[];
}

export interface Imported {
  readonly path: string;
  /** The newest one after the import. */
  readonly version: number;
  /** `kept`: it has another value, and was not to be overwritten. */
  readonly change: "new" | "changed" | "same" | "kept";
}

/** A value that a later version took the place of. */
export interface ReplacedSecret {
  readonly version: number;
  readonly value: SecretValue;
  readonly replacedAt: EpochMs;
}

/** A secret whose end has come. */
export interface ExpiredSecret {
  readonly path: string;
  readonly version: number;
  readonly expiresAt: EpochMs;
}

export interface VaultSecrets {
  /** Errors: VAULT_BAD_PATH, VAULT_BAD_VALUE, VAULT_BAD_METADATA, VAULT_PATH_TAKEN. */
  set(path: string, value: SecretValue | SecretReference, options?: SetOptions): Promise<SecretInfo>;
  /** Without a new version. Errors: as `set`, and VAULT_SECRET_MISSING. */
  describe(path: string, options: DescribeOptions): Promise<SecretInfo>;
  /**
   * A new version, and an end to the ones before.
   * Errors: VAULT_BAD_PATH, VAULT_BAD_VALUE, VAULT_BAD_METADATA (grace), VAULT_SECRET_MISSING.
   */
  rotate(path: string, value: SecretValue | SecretReference, options?: RotateOptions): Promise<SecretInfo>;
  /**
   * A new version with the value of an earlier one, which has to be readable still.
   * Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING, VAULT_SECRET_EXPIRED.
   */
  rollback(path: string, version: number, options?: WriteOptions): Promise<SecretInfo>;
  /**
   * All or none. What is there with the same value is left alone; `dryRun` only tells.
   * Errors: VAULT_BAD_PATH, VAULT_BAD_VALUE, VAULT_BAD_METADATA, VAULT_PATH_TAKEN.
   */
  importAll(entries: readonly ImportEntry[], options?: ImportOptions): Promise<readonly Imported[]>;
  /**
   * `version` as counted, default the newest.
   * Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING (also: it was closed), VAULT_SECRET_EXPIRED, VAULT_BACKEND_UNAVAILABLE.
   */
  get(path: string, version?: number): Promise<StoredSecret>;
  /** What is known of it, read or not; undefined when there is none. Errors: VAULT_BAD_PATH. */
  find(path: string): Promise<SecretInfo | undefined>;
  /**
   * Whether who got this version knows all that there is to know: it is the newest one, may be read, and nothing has been
   * said of it since. Errs to false for some minutes after a change. Errors: VAULT_BAD_PATH.
   */
  isUnchanged(path: string, version: number): Promise<boolean>;
  /** In path order; `prefix` is compared as text. */
  list(prefix?: string): Promise<readonly SecretInfo[]>;
  /**
   * The path of `name` (one segment) in `place` (`organization[/team[/workspace]]`): in the narrowest of these that has
   * it, readable or not. Undefined when none has. Errors: VAULT_BAD_PATH.
   */
  resolveName(name: string, place: string): Promise<string | undefined>;
  /** The highest of the secrets that are there and that some scope covers, for whatever action. */
  tierOf(scopes: readonly Scope[]): Promise<SecretTier>;
  /** All versions. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING. */
  remove(path: string, options?: Pick<WriteOptions, "allow">): Promise<void>;
  /** Newest first. Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING. */
  history(path: string): Promise<readonly SecretVersion[]>;
  /**
   * Values before `version` that were replaced after `since`, newest first, to look for and never to use: those that a
   * rotation closed are told for ten minutes more. Those that expired or are kept elsewhere are left out.
   * Errors: VAULT_BAD_PATH, VAULT_SECRET_MISSING.
   */
  replacedSince(path: string, version: number, since: EpochMs): Promise<readonly ReplacedSecret[]>;
  /**
   * Secrets whose end has come and is not on record, for one caller: another gets the same ones only when this one has
   * not told (`expiryTold`) within a minute.
   */
  takeExpired(): Promise<readonly ExpiredSecret[]>;
  /** Their end is on record. */
  expiryTold(told: readonly ExpiredSecret[]): Promise<void>;
}
