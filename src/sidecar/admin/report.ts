/** What the admin API says about a sidecar (interface.md section 7). Names, numbers and codes; never a value. */
import type { Problem } from "../../config/problem.ts";
import type { ErrorCode } from "../../core/errors.ts";

/** `source:NAME`, `audit`, `ca`, `draining`; empty = ready. */
export interface Readiness {
  readonly reasons: readonly string[];
}

export type ReloadAnswer = { readonly generation: number } | { readonly problems: readonly Problem[] };

export interface StatusReport {
  readonly version: string;
  readonly pid: number;
  /** `s` */
  readonly uptime: number;
  /** `HOST:PORT` or `unix:PATH`; null = off. */
  readonly listeners: {
    readonly proxy: string | null;
    readonly gateway: string | null;
    readonly health: string | null;
    readonly admin: string | null;
  };
  readonly file: string;
  /** 1 at the start, one more with each reload. */
  readonly generation: number;
  readonly secrets: readonly SecretReport[];
}

export interface SecretReport {
  readonly reference: string;
  /** Names of the routes that use it. */
  readonly routes: readonly string[];
  /** The source's word for the version last got. */
  readonly version: string | null;
  /** Since then, `s`. */
  readonly age: number | null;
  /** `unused`: not asked for yet. `ok`. Else the code that a request for it would get, or last got. */
  readonly state: "unused" | "ok" | ErrorCode;
}
