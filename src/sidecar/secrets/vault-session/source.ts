/** The secrets of a vault as a source: what every way to a token has in common, and the way where somebody else issues it. */
import type { Closable } from "../../../core/closer.ts";
import type { Announcing, Repermitted, RouteUse, Scoped, SecretSource, Versioned } from "../source.ts";
import { openGivenSession, refuseUncovered, type TokenPlace } from "./given-session.ts";
import type { LeaseReport } from "./lease.ts";
import type { SessionParts, VaultSession } from "./session.ts";

export type VaultSource = SecretSource &
  Scoped &
  Versioned &
  Announcing &
  Repermitted &
  Closable & { leases(): readonly LeaseReport[] };

/** On a token that is put where the file says. Errors: as `openGivenSession`. */
export const createGivenSource = async (
  parts: SessionParts,
  place: TokenPlace,
  uses: readonly RouteUse[],
): Promise<VaultSource> => {
  const session = await openGivenSession(parts, place, uses);
  const { lease } = session;
  return {
    ...faceOf(parts.source, () => session),
    async repermit(_paths, wanted) {
      lease.reread();
      refuseUncovered(lease, wanted, parts.source);
      return undefined;
    },
    async close() {
      await session.close();
      await parts.link.close();
    },
  };
};

/** All that a source says of whatever session it has just now. */
export const faceOf = (name: string, session: () => VaultSession): Omit<VaultSource, "repermit" | "close"> => ({
  name,
  authorize: (ref) => session().authorize(ref),
  generation: (ref) => session().generation(ref),
  isHeard: () => session().isHeard(),
  lastHeard: () => session().lastHeard(),
  fetch: (ref, context) => session().fetch(ref, context),
  leases: () => session().leases(),
});
