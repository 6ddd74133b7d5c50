/** A route as requests use it: compiled once when the file is loaded, never changed. */
import type { HeaderRules } from "../injection/apply.ts";
import type { Injection, SetInjector } from "../injection/injector.ts";
import type { ReadableRequest } from "../injection/issued.ts";
import type { Placeholder } from "../injection/placeholder.ts";
import type { RedactionCache } from "../scrub/redaction.ts";
import type { SecretBundles } from "../secrets/bundle.ts";
import type { SecretRef } from "../secrets/source.ts";
import type { ReflectionRules } from "./reflection.ts";

export interface RouteTimeouts {
  /** `ms` */
  readonly connectMs: number;
  /** Until the first response header, `ms`. */
  readonly headersMs: number;
  /** Between two pieces of a body, `ms`. */
  readonly idleMs: number;
}

export interface Route {
  readonly name: string;
  /** What it injects, each reference once. Empty only where `issued` gives the one to use. */
  readonly secrets: readonly SecretRef[];
  /** Their references as the audit has them. */
  readonly secretNames: string;
  /** Some reference names no version: its secret may be another one tomorrow. */
  readonly isRenewable: boolean;
  readonly bundles: SecretBundles;
  /** All of them, in the order of the file. Never empty where there are secrets. */
  readonly injections: readonly Injection[];
  /** Those that set something. */
  readonly sets: readonly Injection<SetInjector>[];
  /** The others, by the placeholder. */
  readonly placeholders: ReadonlyMap<string, Placeholder>;
  readonly rules: HeaderRules;
  /** What to look for in responses, kept per version of the secrets. */
  readonly redactions: RedactionCache;
  /** Names, lower case, that its responses lose. */
  readonly responseDrops: ReadonlySet<string>;
  /** What to do when the credential comes back. */
  readonly reflection: ReflectionRules;
  readonly timeouts: RouteTimeouts;
  /** Lifetime of the cached secret, `ms`. */
  readonly maxAgeMs: number;
  /** How long past `maxAgeMs` the old value serves while the source fails, `ms`. A hard bound. */
  readonly staleWhileErrorMs: number;
  /** It takes what a vault issued: the route as it is for a request with these placeholders, or with none. */
  readonly issued?: (request: ReadableRequest) => Route;
  /** Cleartext beyond loopback, where `egress.allow` opens the address too (ruling 11). */
  readonly cleartext: boolean;
}
