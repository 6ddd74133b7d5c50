/**
 * A source on tokens that the sidecar asks for itself, with the agent's key as it is in its file now: another set of
 * paths, or another key, is another session, and the old one goes once what was asked with it is answered. What an operator
 * took back is not asked for again with the same key.
 */
import { toSidekeyError } from "../../../core/errors.ts";
import type { PermitChange, RouteUse } from "../source.ts";
import type { VaultLink } from "./link.ts";
import { RETIRE_AFTER_MS } from "./minted-lease.ts";
import { openMintedSession } from "./minted-session.ts";
import type { SessionParts, VaultSession } from "./session.ts";
import { faceOf, type VaultSource } from "./source.ts";

/** Where the agent's key is. */
export interface KeyPlace {
  /** Errors: CONFIG_INVALID. */
  readonly read: () => string;
  /** A word that changes with what `read` would give; undefined: it never does. */
  readonly stamp: (() => string) | undefined;
  /** A vault as who has this key. Errors: CONFIG_*. */
  readonly open: (key: string) => Promise<VaultLink>;
}

const LOOK_EVERY_MS = 1_000;
/** A key that the vault does not take, or a vault that does not answer, is not asked about more often. `ms` */
const RETRY_EVERY_MS = 15_000;

interface Held {
  readonly key: string;
  readonly link: VaultLink;
  readonly session: VaultSession;
}

/** Errors: as `openMintedSession`, and those of `place`. */
export const createMintedSource = async (
  base: Omit<SessionParts, "link">,
  place: KeyPlace,
  first: readonly RouteUse[],
): Promise<VaultSource> => {
  const { source: name, after, log, clock, changes } = base;
  let seen = place.stamp?.();
  let uses = first;

  const openWith = async (key: string, wanted: readonly RouteUse[], strict: boolean): Promise<Held> => {
    const link = await place.open(key);
    try {
      return { key, link, session: await openMintedSession({ ...base, link }, wanted, strict) };
    } catch (error) {
      await link.close();
      throw error;
    }
  };

  let held = await openWith(place.read(), uses, false);
  /** Those that were replaced, and what sends each on its way out before its time. */
  const leaving = new Map<Held, () => void>();
  const gone: Promise<void>[] = [];
  let closed = false;
  /** A reload has asked for more and not said yet whether it takes it. */
  let isChanging = false;
  let rekeying: Promise<void> | undefined;
  let retryAt = Number.NEGATIVE_INFINITY;
  let isWanted = false;
  let told: string | undefined;

  const leave = async (old: Held): Promise<void> => {
    leaving.get(old)?.();
    leaving.delete(old);
    await old.session.close();
    // A session on other paths shares it with the one before.
    if (![held, ...leaving.keys()].some(({ link }) => link === old.link)) await old.link.close();
  };

  const replace = (next: Held): void => {
    const old = held;
    held = next;
    changes.everything();
    leaving.set(
      old,
      after(RETIRE_AFTER_MS, () => void gone.push(leave(old))),
    );
  };

  /** The key as it is now, when it is another one. Errors: as at creation. */
  const rekey = async (): Promise<void> => {
    const key = place.read();
    if (key === held.key) return;
    const next = await openWith(key, uses, true);
    if (closed) {
      await next.session.close();
      await next.link.close();
      return;
    }
    replace(next);
    told = undefined;
    log.info("the source has another agent key", { source: name, address: next.link.address });
  };

  const look = (): void => {
    cancelLook = after(LOOK_EVERY_MS, look);
    const now = place.stamp?.();
    const isOther = now !== seen;
    seen = now;
    isWanted ||= isOther;
    if (!isWanted || isChanging || rekeying !== undefined) return;
    if (!isOther && clock.monotonic() < retryAt) return;
    retryAt = clock.monotonic() + RETRY_EVERY_MS;
    isWanted = false;
    rekeying = rekey()
      .catch((error: unknown) => {
        isWanted = true;
        const { code, detail } = toSidekeyError(error);
        if (told !== detail)
          log.warn("the source's agent key cannot be taken, and the one before stays", { source: name, code, detail });
        told = detail;
      })
      .finally(() => {
        rekeying = undefined;
      });
  };
  let cancelLook = place.stamp === undefined ? (): void => {} : after(LOOK_EVERY_MS, look);

  return {
    ...faceOf(name, () => held.session),
    async repermit(_paths, wanted): Promise<PermitChange | undefined> {
      await rekeying;
      const key = place.read();
      const isSame = isSamePaths(uses, wanted);
      // What an operator revoked is not asked for again because a route came or went.
      if (key === held.key && (isSame || held.session.isRevoked())) {
        uses = isSame ? wanted : uses;
        return undefined;
      }
      isChanging = true;
      try {
        const next =
          key === held.key
            ? { ...held, session: await openMintedSession({ ...base, link: held.link }, wanted, true) }
            : await openWith(key, wanted, true);
        return {
          commit() {
            isChanging = false;
            uses = wanted;
            replace(next);
          },
          async cancel() {
            isChanging = false;
            await next.session.close();
            if (next.link !== held.link) await next.link.close();
          },
        };
      } catch (error) {
        isChanging = false;
        throw error;
      }
    },
    async close() {
      closed = true;
      cancelLook();
      await rekeying;
      for (const old of leaving.keys()) gone.push(leave(old));
      await Promise.all(gone);
      await held.session.close();
      await held.link.close();
    },
  };
};

const isSamePaths = (some: readonly RouteUse[], others: readonly RouteUse[]): boolean => {
  const paths = new Set(some.map(({ path }) => path));
  const wanted = new Set(others.map(({ path }) => path));
  return paths.size === wanted.size && [...paths].every((path) => wanted.has(path));
};
