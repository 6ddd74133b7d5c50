/**
 * Changes of the store, read once for all who listen: each batch of one generation, in order. Whoever comes asks the store
 * for what it missed; what comes meanwhile waits.
 */
import { toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { ChangesOf, VaultChanges } from "../index.ts";

export interface Listener {
  /** In order of generations, each once. */
  changed(batch: ChangesOf): void;
  /** Not everything is known any more: look at all again. `generation` is the store's now. */
  reset(generation: number): void;
  /** The store does not answer: what changes is not heard of here. Nothing is said after that. */
  lost(): void;
}

export interface Subscription {
  /** What the listener is up to date with. */
  readonly generation: number;
  end(): void;
}

export interface EventHub {
  /** `since`: what the listener knows; undefined = it knows nothing and starts now. */
  subscribe(listener: Listener, since: number | undefined): Promise<Subscription>;
  close(): Promise<void>;
}

interface Place {
  readonly listener: Listener;
  /** Up to date with this generation. */
  sent: number;
  /** It still reads what it missed, and is passed by. */
  catchingUp: boolean;
}

/** After a store that could not be read. `ms` */
const RETRY_MS = 250;

/** A listener that hears nothing takes it that nothing has changed, so the store is asked whether it is there. `ms` */
const LOOK_EVERY_MS = 1000;
const ANSWER_WITHIN_MS = 2000;

export const openEventHub = async (changes: VaultChanges, log: Log): Promise<EventHub> => {
  const places = new Set<Place>();
  let known = await changes.current();
  let reading: Promise<void> | undefined;
  let retry: NodeJS.Timeout | undefined;
  let isAsked = false;

  const deliver = (place: Place, batch: ChangesOf): void => {
    if (batch.generation <= place.sent) return;
    place.sent = batch.generation;
    place.listener.changed(batch);
  };

  const readNew = async (): Promise<void> => {
    while (isAsked) {
      isAsked = false;
      const from = Math.min(known, ...[...places].flatMap(({ sent, catchingUp }) => (catchingUp ? [] : [sent])));
      const current = await changes.current();
      const batches = await changes.since(from);
      for (const place of places) {
        if (place.catchingUp) continue;
        if (place.sent < from) {
          // It came while these were read, and knows less than they begin with.
          isAsked = true;
          continue;
        }
        if (batches === undefined) place.listener.reset(current);
        for (const batch of batches ?? []) deliver(place, batch);
        place.sent = Math.max(place.sent, current);
      }
      known = Math.max(known, current);
    }
  };

  const wake = (): void => {
    isAsked = true;
    reading ??= readNew()
      .catch((error: unknown) => {
        log.error("changes cannot be read", { fault: toSidekeyError(error).code });
        // What was not told must not wait for the next change.
        retry ??= setTimeout(() => {
          retry = undefined;
          wake();
        }, RETRY_MS).unref();
      })
      .finally(() => {
        reading = undefined;
        if (isAsked) wake();
      });
  };

  const letGo = (): void => {
    for (const place of [...places]) {
      places.delete(place);
      place.listener.lost();
    }
  };

  let isLooking = false;
  const look = async (): Promise<void> => {
    if (isLooking || places.size === 0) return;
    isLooking = true;
    const timer = setTimeout(letGo, ANSWER_WITHIN_MS).unref();
    try {
      await changes.current();
    } catch (error) {
      if (places.size > 0)
        log.warn("the store does not answer: streams are ended", { code: toSidekeyError(error).code });
      letGo();
    } finally {
      clearTimeout(timer);
      isLooking = false;
    }
  };

  const stop = await changes.watch(wake);
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();

  return {
    async subscribe(listener, since) {
      const place: Place = { listener, sent: 0, catchingUp: true };
      places.add(place);
      try {
        const current = await changes.current();
        const missed = since === undefined ? [] : await changes.since(since);
        if (missed === undefined) listener.reset(current);
        else place.sent = since ?? current;
        for (const batch of missed ?? []) deliver(place, batch);
        place.sent = Math.max(place.sent, current);
        place.catchingUp = false;
        wake();
        return { generation: place.sent, end: () => void places.delete(place) };
      } catch (error) {
        places.delete(place);
        throw error;
      }
    },
    async close() {
      clearInterval(timer);
      await stop();
      clearTimeout(retry);
      places.clear();
      await reading;
    },
  };
};
