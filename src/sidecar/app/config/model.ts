/** A checked configuration: every default filled, every path absolute, every duration in `ms`. */
import type { z } from "zod";
import type { ListenAddress, Origin } from "../../../config/addresses.ts";
import type { AuditConfig } from "../../../config/audit-fields.ts";
import type { Cidr } from "../../../core/ip.ts";
import type { LogLevel } from "../../../core/log.ts";
import type { injectionKinds } from "../../injection/kinds/index.ts";
import type { ReflectionPolicy } from "../../pipeline/reflection.ts";
import type { DenyPattern, Pattern } from "../../policy/pattern.ts";
import type { sourceKinds } from "../../secrets/kinds/index.ts";
import type { SecretRef } from "../../secrets/source.ts";
import type { UpstreamProxyConfig } from "../upstream-proxy.ts";

export type { ListenAddress };

export type SourceFields = z.output<(typeof sourceKinds)[number]["fields"]>;
/** Of those that send a secret which the file names. */
export type InjectionFields = Exclude<AnyInjectionFields, IssuedFields>;
export type IssuedFields = Extract<AnyInjectionFields, { readonly kind: "vault-placeholder" }>;
type AnyInjectionFields = z.output<(typeof injectionKinds)[number]["fields"]>;

export interface SourceConfig {
  readonly name: string;
  readonly kind: SourceFields["kind"];
  /** As written, paths included: a kind resolves its own against `baseDir`. */
  readonly fields: SourceFields;
}

export interface InjectionConfig {
  readonly kind: InjectionFields["kind"];
  readonly fields: InjectionFields;
  readonly ref: SecretRef;
}

/** What a request's placeholder stands for is not in the file. */
export interface IssuedConfig {
  readonly fields: IssuedFields;
  /** Declared name of the vault. */
  readonly source: string;
}

export interface RouteConfig {
  readonly name: string;
  readonly patterns: readonly Pattern[];
  readonly deny: readonly DenyPattern[];
  /** As the file has them; never empty without `issued`. */
  readonly injections: readonly InjectionConfig[];
  /** It takes placeholders that a vault issued. */
  readonly issued?: IssuedConfig;
  /** Name of the preset that filled what the route does not say; absent = none. */
  readonly preset?: string;
  /** Variables that `run` sets to the placeholder. */
  readonly variables: readonly string[];
  /** What an agent finds in them: of the shape its SDK checks for, stable per state directory. */
  readonly placeholder: string;
  /** `ms` */
  readonly maxAgeMs: number;
  /** `ms` */
  readonly staleWhileErrorMs: number;
  readonly timeouts: {
    /** `ms` */
    readonly connectMs: number;
    /** `ms` */
    readonly headersMs: number;
    /** `ms` */
    readonly idleMs: number;
  };
  readonly cleartext: boolean;
  /** Range reaches the upstream. */
  readonly allowRange: boolean;
  /** What becomes of the upstream's cookies. */
  readonly cookies: "strip" | "pass";
  /** Absent: `close` for a secret that can be guessed, else `redact`. */
  readonly onReflection?: ReflectionPolicy;
  /** Where the route's base URL on the gateway leads; absent = it has none. */
  readonly gateway?: Origin;
}

export interface SidecarConfig {
  /** Absolute. */
  readonly file: string;
  /** Directory that relative paths of the file start from. */
  readonly baseDir: string;
  /** SHA-256 of the file's text, hex. */
  readonly digest: string;
  readonly agent: string;
  readonly state: string;
  readonly listen: {
    /** Undefined = off, as for the others. */
    readonly proxy: ListenAddress | undefined;
    readonly gateway: ListenAddress | undefined;
    readonly health: ListenAddress | undefined;
    /** Always a unix socket; undefined where the usual place has too long a path. */
    readonly admin: ListenAddress | undefined;
    /** Host names that stand for the gateway beside its own address. Canonical. */
    readonly names: readonly string[];
    /** Who may connect to a listener beyond loopback. */
    readonly clients: readonly Cidr[];
  };
  /** The first is the default; never empty. */
  readonly sources: readonly SourceConfig[];
  readonly routes: readonly RouteConfig[];
  readonly unmatched: "deny" | "tunnel";
  readonly egress: { readonly allow: readonly Cidr[] };
  readonly upstream: {
    /** PEM file. */
    readonly ca?: string;
    /** By `host:port` as authorities write it. */
    readonly connect: ReadonlyMap<string, { readonly address: string; readonly port: number }>;
    readonly proxy?: UpstreamProxyConfig;
  };
  readonly tls: {
    /** Directory that `start` and `ca rotate` write the files to trust to. */
    readonly export: string | undefined;
    /** Life of a new CA in days. */
    readonly caDays: number;
    /** A new CA signs for the hosts of the routes alone. */
    readonly constrain: boolean;
  };
  readonly audit: AuditConfig;
  readonly limits: { readonly connections: number; readonly tunnels: number; readonly streams: number };
  readonly logLevel: LogLevel;
  /** What `sidekey test` asks. */
  readonly tests: readonly RequestTest[];
}

export interface RequestTest {
  readonly request: { readonly method: string; readonly url: string };
  /** `deny`, `tunnel`, or the name of the route that must serve it. */
  readonly expect: string;
}
