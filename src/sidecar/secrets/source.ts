/** What every secret source is to the rest of the sidecar. */
import type { Authority } from "../../core/authority.ts";
import type { Clock, EpochMs } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { SecretValue } from "../../core/secret-value.ts";

/** `[SOURCE:]PATH[#FIELD][@VERSION]`, its source resolved to a declared one. */
export interface SecretRef {
  /** Declared name of the source. */
  readonly source: string;
  /** Percent escapes decoded. */
  readonly path: string;
  /** Members of a JSON object, outermost first; empty = the whole value. */
  readonly field: readonly string[];
  readonly version: string | undefined;
  /** Canonical text `source:path#field@version`: cache key, and the name in audit and log. */
  readonly text: string;
  /** In the place of a path that only the source knows: what the source itself gave an agent for a key. */
  readonly issued?: IssuedPlaceholder;
}

/** A placeholder that a vault issued, found in a request. */
export interface IssuedPlaceholder {
  readonly placeholder: string;
  /** Whether the route takes it for the secret of this path. */
  allows(path: string): boolean;
}

/** The request that a value is wanted for. */
export interface SecretUse {
  readonly authority: Authority;
}

export interface FetchContext {
  /** Name of the agent on whose behalf this is fetched. */
  readonly agent: string;
  /** Where it is to be sent; absent: nobody wants to send it now. */
  readonly authority?: Authority;
  /** What for, as a vault's audit has it: the route and the request. */
  readonly reason?: string;
  /** What it was the last time. A source that finds it unchanged returns this very object. */
  readonly known?: SecretMaterial;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal?: AbortSignal;
}

/** A value that was in use until another took its place. */
export interface ReplacedValue {
  readonly value: SecretValue;
  readonly replacedAt: EpochMs;
}

/** How long a replaced value is still looked for in responses (ruling 3). `ms` */
export const REPLACED_MS = 600_000;

/** More rotations than this within `REPLACED_MS` are not remembered: the newest are. */
export const MAX_REPLACED = 32;

export interface SecretMaterial {
  readonly value: SecretValue;
  /** The source's own word for the version, as audit shows it. */
  readonly version?: string;
  /** After this the value is no longer valid. */
  readonly notAfter?: EpochMs;
  /** Canonical hosts the secret is bound to; absent = any. */
  readonly hosts?: readonly string[];
  /**
   * What it replaced within `REPLACED_MS`, newest first: it may still come back in a response. From a source: absent where
   * it keeps no old values, and the resolver then remembers them instead.
   */
  readonly replaced?: readonly ReplacedValue[];
  /** For an issued placeholder: what it stands for, and whose it is. */
  readonly issued?: IssuedFor;
}

export interface IssuedFor {
  /** Of the secret. */
  readonly path: string;
  /** Name of the agent that the vault gave it to. */
  readonly agent: string;
}

/**
 * Fetches whole values; `field` is cut out by the resolver.
 * Errors: SOURCE_SECRET_MISSING, SOURCE_UNAVAILABLE, SOURCE_FORBIDDEN, SOURCE_BAD_VALUE, IDENTITY_*.
 */
export interface SecretSource {
  readonly name: string;
  /** A fetch that takes longer has failed. Default `FETCH_TIMEOUT_MS`. `ms` */
  readonly fetchTimeoutMs?: number;
  fetch(ref: SecretRef, ctx: FetchContext): Promise<SecretMaterial>;
}

/** `ms` */
export const FETCH_TIMEOUT_MS = 2_000;

/** A source behind a scoped token: asked before each use, so that a cached value can't outlive its permission. */
export interface Scoped {
  /** Throws IDENTITY_SCOPE_DENIED, IDENTITY_TOKEN_EXPIRED or IDENTITY_TOKEN_REVOKED. Fast: once per request. */
  authorize(ref: SecretRef): void;
}

export const isScoped = (source: SecretSource): source is SecretSource & Scoped => "authorize" in source;

/** A source that knows cheaply whether anything in it changed; a new number makes every cached value stale. */
export interface Versioned {
  /** Of one secret where the source can tell, else of all. Fast (about 1 µs): once per request. */
  generation(ref?: SecretRef): number;
}

export const isVersioned = (source: SecretSource): source is SecretSource & Versioned => "generation" in source;

/** A source that says by itself when something changes: as long as it is heard, what it said last is so. */
export interface Announcing {
  /** False: nobody would say so, and a cached value is asked for again each `UNHEARD_MS`. Fast: once per request. */
  isHeard(): boolean;
  /** When it last said anything at all. Monotonic, `ms`. */
  lastHeard(): number;
}

/** `ms` */
export const UNHEARD_MS = 1_000;

export const isAnnouncing = (source: SecretSource): source is SecretSource & Announcing => "isHeard" in source;

/** A source whose permission follows the file's routes, or a credential that is renewed in place. Asked at each reload. */
export interface Repermitted {
  /**
   * Asks for what these paths need, with the credential as it is now; undefined where nothing changes. What there is
   * serves until `commit`. Errors: as at its creation.
   */
  repermit(paths: readonly string[], uses: readonly RouteUse[]): Promise<PermitChange | undefined>;
}

export interface PermitChange {
  /** From here on the new permission alone. */
  commit(): void;
  /** Gives the new one back. */
  cancel(): Promise<void>;
}

export const isRepermitted = (source: SecretSource): source is SecretSource & Repermitted => "repermit" in source;

/** A route's claim on a secret of the source. */
export interface RouteUse {
  /** A `*` in it stands for any characters: what the placeholders of agents may lead to. */
  readonly path: string;
  readonly route: string;
  /** Of the first of its patterns that names one; undefined: they all have wildcards. */
  readonly authority: Authority | undefined;
  /** How long it may use a value while the source is away. Absent: nobody said. `ms` */
  readonly staleMs?: number;
}

/** What a kind of source is built with. */
export interface SourceDeps {
  /** Declared name of the source. */
  readonly name: string;
  /** Name of the agent that this sidecar serves. */
  readonly agent: string;
  /** Absolute directory that the file's relative paths start from. */
  readonly baseDir: string;
  /** Absolute state directory. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  /** The secret paths that routes name in this source; what its token is asked for. */
  readonly paths: readonly string[];
  /** The same, with the routes that name them. Default none. */
  readonly uses?: readonly RouteUse[];
  /** The sidecar lasts as long as one program: what it is given should end soon where it cannot give it back. */
  readonly isBrief?: boolean;
}
