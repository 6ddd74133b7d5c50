/**
 * Secret references to values: the cache (the only user of lru-cache), one fetch in flight per reference, renewal ahead of
 * time, and the bound up to which an old value may serve. Fresh values come back without a promise, since that is nearly
 * every request. Must never hand out a value past its bound, nor one that its source has withdrawn.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import { type After, type Fetch, startFetch } from "./fetch.ts";
import { HostRefusals, isHostRefusal } from "./host-refusals.ts";
import { isOutage, pauseAfter } from "./pause.ts";
import { isSameValue, ReplacedValues } from "./replaced.ts";
import {
  isAnnouncing,
  isVersioned,
  REPLACED_MS,
  type SecretMaterial,
  type SecretRef,
  type SecretSource,
  type SecretUse,
  UNHEARD_MS,
} from "./source.ts";

export interface CachePolicy {
  /** `ms` */
  readonly maxAgeMs: number;
  /** After `maxAgeMs`, while the source is unavailable, `ms`. */
  readonly staleWhileErrorMs: number;
  /** Of the route. */
  readonly name?: string;
}

/** The request that asks, where one does: what it wants the value for, and its id. */
export type Asking = readonly [use?: SecretUse, by?: { readonly id: string }];

export interface SecretResolver {
  /** Errors: SOURCE_*, and what the source's `fetch` throws. */
  resolve(
    ref: SecretRef,
    agent: string,
    policy: CachePolicy,
    ...asking: Asking
  ): SecretMaterial | Promise<SecretMaterial>;
  /**
   * Asks past the cache, at most once a second per reference, because an upstream did not take `used` (ruling 6). Undefined:
   * there is no other value. Errors: as `resolve`.
   */
  renew(
    ref: SecretRef,
    agent: string,
    policy: CachePolicy,
    used: SecretMaterial,
    ...asking: Asking
  ): Promise<SecretMaterial | undefined>;
  /** Forgets everything. */
  close(): void;
}

export interface ResolverOptions {
  /** 0 to 1, evenly; default the system's. */
  readonly random?: () => number;
  /** Default a timer. */
  readonly after?: After;
  /** Calls back every so many `ms` until what it returns is called; default a timer. */
  readonly every?: (ms: number, act: () => void) => () => void;
  /** Told of each fetch: what it got, or why it failed, and how long it took. */
  readonly report?: (ref: SecretRef, outcome: SecretMaterial | SidekeyError, ms: number) => void;
}

interface Entry {
  readonly material: SecretMaterial;
  /** Monotonic, `ms`. */
  readonly fetchedAt: number;
  /** Until `notAfter`, at the time of the fetch. `ms` */
  readonly lifeMs: number;
  /** Of the source when the fetch began. */
  readonly generation: number;
}

interface Failure {
  readonly error: SidekeyError;
  readonly count: number;
  readonly generation: number;
  /** When the first of them failed. Monotonic, as is `until`. `ms` */
  readonly since: number;
  until: number;
}

interface Flight {
  readonly generation: number;
  /** Where the value is to be sent; undefined: nowhere yet. */
  readonly authority: string | undefined;
  readonly result: Promise<SecretMaterial>;
}

interface Ask {
  readonly source: SecretSource;
  readonly ref: SecretRef;
  readonly agent: string;
  readonly generation: number;
  readonly policy: CachePolicy;
  readonly asking: Asking;
}

/** What is known about one reference. */
interface Slot {
  readonly replaced: ReplacedValues;
  readonly hostRefusals: HostRefusals;
  entry: Entry | undefined;
  failure: Failure | undefined;
  flight: Flight | undefined;
  /** When it was last wanted. Monotonic, as are the others. `ms` */
  usedAt: number;
  /** Unused for this long, it goes. `ms` */
  keepMs: number;
  /** Of the routes that asked, the one that bridges longest. */
  patient: CachePolicy;
  /** When it was last renewed ahead of time. */
  renewedAheadAt: number;
  /** When it was last renewed for a 401. */
  renewedAt: number;
}

const MAX_SLOTS = 4096;
/** Of a value's life: from here on it is renewed in the background as long as it is used. */
const RENEW_AHEAD = 0.8;
/** The least time between two renewals of one reference that no cache asked for. `ms` */
const RENEW_EVERY_MS = 1_000;
/** What its source can tell again, old values included, is not kept in memory while nobody uses it (F7). `ms` */
const IDLE_MS = 45_000;
const SWEEP_EVERY_MS = 10_000;
/** A vault says "unchanged" by the version, and looks at what else changed in the last 10 minutes alone. `ms` */
const KNOWN_MS = 5 * 60_000;

export const createSecretResolver = (
  sources: ReadonlyMap<string, SecretSource>,
  clock: Clock,
  options: ResolverOptions = {},
): SecretResolver => {
  const { random = Math.random, after = timeout, every = interval, report } = options;
  // Slots hold SecretValue objects, so lru-cache's diagnostics channel shows no bytes.
  const slots = new LRUCache<string, Slot>({ max: MAX_SLOTS });
  let stopSweep: (() => void) | undefined;

  const sourceOf = (ref: SecretRef): SecretSource => {
    const source = sources.get(ref.source);
    if (source === undefined) throw new SidekeyError("INTERNAL", { detail: `source ${ref.source} is not built` });
    return source;
  };

  const slotOf = (ref: SecretRef, policy: CachePolicy): Slot => {
    const now = clock.monotonic();
    let slot = slots.get(ref.text);
    if (slot === undefined) {
      slot = {
        replaced: new ReplacedValues(clock),
        hostRefusals: new HostRefusals(clock),
        entry: undefined,
        failure: undefined,
        flight: undefined,
        usedAt: now,
        keepMs: IDLE_MS,
        patient: policy,
        renewedAheadAt: Number.NEGATIVE_INFINITY,
        renewedAt: Number.NEGATIVE_INFINITY,
      };
      slots.set(ref.text, slot);
      stopSweep ??= every(SWEEP_EVERY_MS, sweep);
    }
    slot.usedAt = now;
    if (bridgedMs(policy) > bridgedMs(slot.patient)) slot.patient = policy;
    return slot;
  };

  const sweep = (): void => {
    const now = clock.monotonic();
    for (const [key, { usedAt, keepMs, flight, replaced }] of slots.entries()) {
      if (flight === undefined && now - usedAt >= keepMs && replaced.isForgettable) slots.delete(key);
    }
    if (slots.size > 0) return;
    stopSweep?.();
    stopSweep = undefined;
  };

  /** Never again for use; still looked for in responses. */
  const withdraw = (slot: Slot): void => {
    if (slot.entry !== undefined) slot.replaced.add(slot.entry.material.value);
    slot.entry = undefined;
  };

  const store = (slot: Slot, fetched: SecretMaterial, generation: number): SecretMaterial => {
    const { replaced, entry } = slot;
    const before = entry?.material;
    if (before !== undefined && !isSameValue(before.value, fetched.value)) replaced.add(before.value);
    if (fetched.replaced !== undefined) replaced.told(fetched.replaced);
    const fresh: SecretMaterial = { ...fetched, replaced: replaced.beside(fetched.value) };
    // The same object as before where nothing changed: what was compiled for it serves on.
    const material = before !== undefined && isSameMaterial(before, fresh) ? before : fresh;
    const { notAfter } = material;
    slot.entry = {
      material,
      fetchedAt: clock.monotonic(),
      lifeMs: notAfter === undefined ? Number.POSITIVE_INFINITY : notAfter - clock.now(),
      generation,
    };
    slot.failure = undefined;
    return material;
  };

  const fail = (slot: Slot, error: SidekeyError, generation: number, hangs: boolean): void => {
    const now = clock.monotonic();
    const { count = 0, since = now } = slot.failure ?? {};
    const pauseMs = pauseAfter(error, { count: count + 1, hangs, random });
    slot.failure = { error, count: count + 1, generation, since, until: now + pauseMs };
    if (!isOutage(error)) withdraw(slot);
  };

  const fetchOnce = (slot: Slot, { source, ref, agent, generation, policy, asking }: Ask): Flight => {
    if (slot.flight?.generation === generation) return slot.flight;
    const { maxAgeMs, staleWhileErrorMs, name: route } = policy;
    const [use, by] = asking;
    const began = clock.monotonic();
    // Of one that has been out of touch for longer, nobody remembers what else changed beside its value.
    const known = slot.entry !== undefined && began - slot.entry.fetchedAt < KNOWN_MS ? slot.entry.material : undefined;
    const context = {
      agent,
      ...(use !== undefined && { authority: use.authority }),
      ...(route !== undefined && { reason: by === undefined ? `route ${route}` : `route ${route}, request ${by.id}` }),
      ...(known !== undefined && { known }),
    };
    const fetch: Fetch = startFetch(source, ref, context, {
      after,
      answered: () => {
        // It is back: no reason to leave it alone for as long as one that owes an answer.
        if (slot.failure !== undefined && slot.flight === undefined) slot.failure.until = clock.monotonic();
      },
    });
    const flight: Flight = {
      generation,
      authority: use?.authority.key,
      result: fetch.result.then(
        (fetched) => {
          report?.(ref, fetched, clock.monotonic() - began);
          // Overtaken by one that began after a change of the source: too old to keep.
          if (slot.flight !== flight) return fetched;
          slot.flight = undefined;
          const remembers = fetched.replaced !== undefined;
          slot.keepMs = Math.max(
            remembers ? IDLE_MS : maxAgeMs + staleWhileErrorMs + REPLACED_MS,
            slot.entry === undefined ? 0 : slot.keepMs,
          );
          return store(slot, fetched, generation);
        },
        (thrown: unknown) => {
          const error = toSidekeyError(thrown);
          report?.(ref, error, clock.monotonic() - began);
          if (slot.flight === flight) {
            slot.flight = undefined;
            if (isHostRefusal(error)) slot.hostRefusals.add(flight.authority, error);
            else fail(slot, error, generation, fetch.hangs);
          }
          throw error;
        },
      ),
    };
    slot.flight = flight;
    return flight;
  };

  /**
   * From when on an outage is bridged: from the end of the value's age, or, where the source says what changes, from its
   * last word; and no later than the first attempt that failed, since saying that it lives is no word on the secret.
   */
  const outageBegan = (slot: Slot, { fetchedAt }: Entry, source: SecretSource, { maxAgeMs }: CachePolicy): number => {
    if (!isAnnouncing(source)) return fetchedAt + maxAgeMs;
    return Math.max(fetchedAt, Math.min(source.lastHeard(), slot.failure?.since ?? clock.monotonic()));
  };

  /** The old value, as long as an outage may be bridged with it. Of another generation it may be a removed one. */
  const bridge = (slot: Slot, source: SecretSource, generation: number, policy: CachePolicy) => {
    const old = slot.entry;
    if (old === undefined || old.generation !== generation || !isValid(old, clock)) return undefined;
    const mayServe = (by: CachePolicy): boolean =>
      clock.monotonic() - outageBegan(slot, old, source, by) < by.staleWhileErrorMs;
    if (mayServe(policy)) return old.material;
    // Another route may bridge longer with the same secret.
    if (!mayServe(slot.patient)) withdraw(slot);
    return undefined;
  };

  /** One that asks for its own host is not answered by what was said of another. */
  const waitFor = (slot: Slot, ask: Ask): Promise<SecretMaterial> => {
    const authority = ask.asking[0]?.authority.key;
    const flight = fetchOnce(slot, ask);
    return flight.result.catch((thrown: unknown) => {
      const error = toSidekeyError(thrown);
      if (isHostRefusal(error) && flight.authority !== authority) {
        slot.hostRefusals.check(authority);
        return waitFor(slot, ask);
      }
      const old = isOutage(error) ? bridge(slot, ask.source, ask.generation, ask.policy) : undefined;
      if (old === undefined) throw error;
      return old;
    });
  };

  const mayRenewAhead = (slot: Slot): boolean => {
    const { flight, failure, renewedAheadAt, usedAt: now } = slot;
    if (flight !== undefined || now - renewedAheadAt < RENEW_EVERY_MS) return false;
    if (failure !== undefined && now < failure.until) return false;
    slot.renewedAheadAt = now;
    return true;
  };

  const generationOf = (source: SecretSource, ref: SecretRef): number =>
    isVersioned(source) ? source.generation(ref) : 0;

  return {
    resolve(ref, agent, policy, ...asking) {
      const source = sourceOf(ref);
      const generation = generationOf(source, ref);
      const slot = slotOf(ref, policy);
      const { entry } = slot;
      const now = slot.usedAt;
      if (entry !== undefined && entry.generation === generation && isValid(entry, clock)) {
        const age = now - entry.fetchedAt;
        const life = Math.min(isAnnouncing(source) && !source.isHeard() ? UNHEARD_MS : policy.maxAgeMs, entry.lifeMs);
        if (age < life) {
          if (age >= life * RENEW_AHEAD && mayRenewAhead(slot)) {
            fetchOnce(slot, { source, ref, agent, generation, policy, asking }).result.catch(ignore);
          }
          return entry.material;
        }
      }

      const failure = slot.failure?.generation === generation ? slot.failure : undefined;
      const bridged =
        failure !== undefined && isOutage(failure.error) ? bridge(slot, source, generation, policy) : undefined;
      if (failure !== undefined && now < failure.until) {
        if (bridged === undefined) throw failure.error;
        return bridged;
      }
      slot.hostRefusals.check(asking[0]?.authority.key);
      const waiting = waitFor(slot, { source, ref, agent, generation, policy, asking });
      if (bridged === undefined) return waiting;
      // Known to be down: nobody waits for it to fail again.
      waiting.catch(ignore);
      return bridged;
    },

    async renew(ref, agent, policy, used, ...asking) {
      const source = sourceOf(ref);
      const generation = generationOf(source, ref);
      const slot = slotOf(ref, policy);
      const { entry, failure, flight, usedAt: now } = slot;
      // Somebody else was told so before, or the source has changed since.
      if (entry?.generation === generation && !isSameValue(entry.material.value, used.value)) return entry.material;
      if (flight?.generation !== generation) {
        if (now - slot.renewedAt < RENEW_EVERY_MS || (failure !== undefined && now < failure.until)) return undefined;
        slot.renewedAt = now;
      }
      const material = await fetchOnce(slot, { source, ref, agent, generation, policy, asking }).result;
      return isSameValue(material.value, used.value) ? undefined : material;
    },

    close() {
      stopSweep?.();
      stopSweep = undefined;
      slots.clear();
    },
  };
};

const bridgedMs = ({ maxAgeMs, staleWhileErrorMs }: CachePolicy): number => maxAgeMs + staleWhileErrorMs;

const isValid = ({ material: { notAfter } }: Entry, clock: Clock): boolean =>
  notAfter === undefined || clock.now() < notAfter;

const isSameMaterial = (before: SecretMaterial, now: SecretMaterial): boolean =>
  isSameValue(before.value, now.value) &&
  before.version === now.version &&
  before.notAfter === now.notAfter &&
  isSameList(before.hosts ?? [], now.hosts ?? [], (one, other) => one === other) &&
  isSameList(before.replaced ?? [], now.replaced ?? [], (one, other) => isSameValue(one.value, other.value));

const isSameList = <T>(one: readonly T[], other: readonly T[], isSame: (a: T, b: T) => boolean): boolean =>
  one.length === other.length && one.every((item, index) => isSame(item, other[index] as T));

/** Whoever waits for it hears of it; who does not has an older value. */
const ignore = (): void => undefined;

const timeout: After = (ms, act) => {
  const timer = setTimeout(act, ms);
  return () => clearTimeout(timer);
};

const interval = (ms: number, act: () => void): (() => void) => {
  const timer = setInterval(act, ms).unref();
  return () => clearInterval(timer);
};
