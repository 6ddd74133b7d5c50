/** The token that a session works with, from the first to the last: what every way to one has in common. */
import type { Clock } from "../../../core/clock.ts";
import type { Closable } from "../../../core/closer.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { Log } from "../../../core/log.ts";
import type { After } from "../fetch.ts";
import type { SecretRef } from "../source.ts";
import { sourceError } from "./failure.ts";
import type { Grant } from "./grant.ts";
import type { LinkFault, VaultLink } from "./link.ts";

export interface LeaseParts {
  readonly link: VaultLink;
  /** Declared name of the source, for errors and the log. */
  readonly source: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly after: After;
  /** 0 to 1, evenly. */
  readonly random: () => number;
  /** There is a token, or another one: what hangs on the old one is to be opened anew. */
  readonly changed: () => void;
}

export interface Lease extends Closable {
  /** Whether it may be used now. Fast: once per request. Errors: IDENTITY_*, SOURCE_*. */
  check(ref: SecretRef): void;
  /** Undefined: `check` throws. */
  current(): Grant | undefined;
  /** Undefined: the name leads nowhere, or only the vault knows. */
  pathOf(name: string): string | undefined;
  /** The vault did not take `used`: true when there is another to try once with. */
  refused(used: Grant, fault: LinkFault): Promise<boolean>;
  /** The vault took a token of it. */
  accepted(): void;
  /** Whether this is the token it works with, or one that it still may. */
  holds(tokenId: string): boolean;
  /** The vault took that token back, or this sidecar's key. */
  revoked(tokenId?: string): void;
  isRevoked(): boolean;
  /** The token's end and what it waits for, for `doctor`. */
  describe(): LeaseReport;
}

export interface LeaseReport {
  /** Undefined: there is no token. */
  readonly expiresAt: number | undefined;
  readonly problem: SidekeyError | undefined;
}

/** What is no word on the token itself is an outage to who waits for one. */
export const waitingFor = (what: string, retryAfter?: number): SidekeyError =>
  new SidekeyError("SOURCE_UNAVAILABLE", { detail: what, ...(retryAfter !== undefined && { retryAfter }) });

export const revokedError = (source: string): SidekeyError =>
  new SidekeyError("IDENTITY_TOKEN_REVOKED", {
    detail: `source ${source}`,
    hint: "If that was a mistake: give the source another token or agent key, or restart the sidecar.",
  });

/** Tells each trouble once, until another one or its end. */
export const createTroubleLog = ({ log, source, link }: Pick<LeaseParts, "log" | "source" | "link">) => {
  let told: string | undefined;
  return {
    trouble(what: string, fault: LinkFault): void {
      const said = `${fault.kind} ${fault.message}`;
      if (said === told) return;
      told = said;
      const { code } = sourceError(fault, source);
      log.warn(what, { source, address: link.address, code, reason: fault.message, hint: fault.hint });
    },
    over(what: string): void {
      if (told === undefined) return;
      told = undefined;
      log.info(what, { source, address: link.address });
    },
  };
};
