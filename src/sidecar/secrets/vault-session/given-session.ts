/** A session on one token that somebody else issued: `check`ed against the routes, since nobody can widen it from here. */
import { SidekeyError } from "../../../core/errors.ts";
import type { RouteUse } from "../source.ts";
import { createGivenLease, type GivenLease, type GivenLeaseOptions } from "./given-lease.ts";
import { routesOf } from "./minted-session.ts";
import { createVaultSession, type SessionParts, type VaultSession } from "./session.ts";

export interface GivenSession extends VaultSession {
  readonly lease: GivenLease;
}

export type TokenPlace = Pick<GivenLeaseOptions, "read" | "stamp">;

/** Errors: CONFIG_INVALID (no token), IDENTITY_TOKEN_INVALID, IDENTITY_SCOPE_DENIED, which names route and path. */
export const openGivenSession = async (
  parts: SessionParts,
  place: TokenPlace,
  uses: readonly RouteUse[],
): Promise<GivenSession> => {
  let lease: GivenLease | undefined;
  const { thumbprint } = parts;
  const session = createVaultSession(parts, {
    uses,
    leaseOf: () => 0,
    leases: [
      (leaseParts) => {
        lease = createGivenLease({ ...leaseParts, ...place, thumbprint });
        return lease;
      },
    ],
  });
  if (lease === undefined) throw new TypeError("no lease was opened");
  try {
    refuseUncovered(lease, uses, parts.source);
  } catch (error) {
    await session.close();
    throw error;
  }
  lease.begin();
  return { ...session, lease };
};

/** Names are for the vault to resolve. Errors: IDENTITY_SCOPE_DENIED. */
export const refuseUncovered = ({ covers }: GivenLease, uses: readonly RouteUse[], source: string): void => {
  const paths = new Set(uses.map(({ path }) => path));
  const denied = [...paths].filter((path) => path.includes("/") && !covers(path));
  if (denied.length === 0) return;
  throw new SidekeyError("IDENTITY_SCOPE_DENIED", {
    detail: `source ${source}: ${routesOf(denied, uses)}.`,
    hint: `Issue a token whose scope covers it: sidekey token issue --scope 'secrets:use:${denied[0]}'.`,
  });
};
