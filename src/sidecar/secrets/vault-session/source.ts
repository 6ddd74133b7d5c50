/** The secrets of a vault as a source: a session that a reload can replace, behind one face. */
import type { Closable } from "../../../core/closer.ts";
import type { Announcing, PermitChange, Repermitted, RouteUse, Scoped, SecretSource, Versioned } from "../source.ts";
import { openGivenSession, refuseUncovered, type TokenPlace } from "./given-session.ts";
import type { LeaseReport } from "./lease.ts";
import { openMintedSession } from "./minted-session.ts";
import type { SessionParts, VaultSession } from "./session.ts";

export type VaultSource = SecretSource &
  Scoped &
  Versioned &
  Announcing &
  Repermitted &
  Closable & { leases(): readonly LeaseReport[] };

/** Asks for its tokens itself. Errors: as `openMintedSession`. */
export const createMintedSource = async (parts: SessionParts, first: readonly RouteUse[]): Promise<VaultSource> => {
  let uses = first;
  let session = await openMintedSession(parts, uses, false);
  /** Those that were replaced, on their way out. */
  let leaving = Promise.resolve();
  const source = faceOf(parts, () => session);
  return {
    ...source,
    async repermit(_paths, wanted): Promise<PermitChange | undefined> {
      // What an operator revoked is not asked for again because a route came or went.
      if (isSamePaths(uses, wanted) || session.isRevoked()) {
        uses = isSamePaths(uses, wanted) ? wanted : uses;
        return undefined;
      }
      const next = await openMintedSession(parts, wanted, true);
      return {
        commit() {
          const old = session;
          session = next;
          uses = wanted;
          parts.changes.everything();
          leaving = leaving.then(() => old.close());
        },
        cancel: async () => next.close(),
      };
    },
    async close() {
      await leaving;
      await session.close();
      await parts.link.close();
    },
  };
};

/** On a token that is put where the file says. Errors: as `openGivenSession`. */
export const createGivenSource = async (
  parts: SessionParts,
  place: TokenPlace,
  uses: readonly RouteUse[],
): Promise<VaultSource> => {
  const session = await openGivenSession(parts, place, uses);
  const { lease } = session;
  return {
    ...faceOf(parts, () => session),
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

const faceOf = ({ source }: SessionParts, session: () => VaultSession): Omit<VaultSource, "repermit" | "close"> => ({
  name: source,
  authorize: (ref) => session().authorize(ref),
  generation: (ref) => session().generation(ref),
  isHeard: () => session().isHeard(),
  lastHeard: () => session().lastHeard(),
  fetch: (ref, context) => session().fetch(ref, context),
  leases: () => session().leases(),
});

const isSamePaths = (some: readonly RouteUse[], others: readonly RouteUse[]): boolean => {
  const paths = new Set(some.map(({ path }) => path));
  const wanted = new Set(others.map(({ path }) => path));
  return paths.size === wanted.size && [...paths].every((path) => wanted.has(path));
};
