/** A checked vault.yaml: every default filled, every path absolute, every duration in `ms`. */
import type { ListenAddress } from "../../../config/addresses.ts";
import type { AuditConfig } from "../../../config/audit-fields.ts";
import type { Credential } from "../../../config/credential.ts";
import type { LogLevel } from "../../../core/log.ts";

export interface TlsFiles {
  /** PEM files. */
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | undefined;
}

export type StorageConfig =
  | { readonly kind: "lmdb"; readonly directory: string }
  | { readonly kind: "postgres"; readonly url: Credential };

export interface VaultServerConfig {
  /** Absolute; undefined = all defaults, there is no file. */
  readonly file: string | undefined;
  /** Directory that relative paths of the file start from. */
  readonly baseDir: string;
  readonly listen: ListenAddress;
  readonly tls: TlsFiles | undefined;
  readonly state: string;
  readonly storage: StorageConfig;
  /** As written; undefined = the usual place. */
  readonly key: Credential | undefined;
  readonly audit: AuditConfig;
  readonly tokens: {
    /** `ms` */
    readonly defaultTtlMs: number;
    /** `ms` */
    readonly maxTtlMs: number;
  };
  readonly approvals: {
    /** `ms` */
    readonly expireMs: number;
    /** Operators that must agree, by tier. */
    readonly sensitive: number;
    readonly critical: number;
    readonly webhook: { readonly url: string; readonly secret: Credential } | undefined;
  };
  readonly limits: {
    /** Of one agent, its key and its tokens together; undefined = none. */
    readonly requestsPerMinute: number | undefined;
    /** Wrong credentials of one address. */
    readonly failuresPerMinute: number;
    /** `bytes` */
    readonly body: number;
    readonly connections: number;
    /** Of one address. */
    readonly connectionsPerAddress: number;
    readonly streams: number;
    /** Enrolled and not revoked. */
    readonly sidecarsPerAgent: number;
  };
  /** Origins, without a slash at the end. */
  readonly publicUrls: readonly string[];
  /** CIDRs. */
  readonly trustedProxies: readonly string[];
  readonly logLevel: LogLevel;
}
