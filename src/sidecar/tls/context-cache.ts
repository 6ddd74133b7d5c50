/**
 * One `SecureContext` per intercepted host, so that a connection costs no minting and sessions resume: a context carries
 * its own ticket keys. It bounds how many contexts live and how fast new ones are minted; which hosts may be asked for
 * is decided by the caller, before it asks.
 */
import { createSecureContext, type SecureContext } from "node:tls";
import type { Host } from "../../core/authority.ts";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { AuthoritySource } from "./authority-source.ts";

export interface ContextCache {
  /** At once when it is cached. Errors: OVERLOADED past the minting rate, TLS_CA_UNUSABLE. */
  get(host: Host): SecureContext | Promise<SecureContext>;
}

export interface ContextCacheOptions {
  readonly authority: AuthoritySource;
  readonly clock: Clock;
  /** Contexts kept, the least recently used go first. Default 1000. */
  readonly max?: number;
  /** In any 1,000 ms. Default 50. */
  readonly mintsPerSecond?: number;
}

interface Entry {
  readonly context: SecureContext;
  /** Fingerprint of the CA that signed. */
  readonly issuer: string;
  readonly notBefore: EpochMs;
  readonly renewAt: EpochMs;
  readonly notAfter: EpochMs;
}

export const createContextCache = (options: ContextCacheOptions): ContextCache => {
  const { authority, clock, max = 1000, mintsPerSecond = 50 } = options;
  /** Oldest use first: a Map keeps the order of insertion. */
  const entries = new Map<string, Entry>();
  const pending = new Map<string, Promise<SecureContext>>();
  const admit = createRate(mintsPerSecond, 1000);

  const mint = async (host: Host): Promise<SecureContext> => {
    const signing = await authority.latest();
    const now = clock.now();
    const { certPem, keyPem, notBefore, notAfter } = await signing.issue(host);
    const context = createSecureContext({ cert: certPem, key: keyPem, minVersion: "TLSv1.2" });
    entries.delete(host.name);
    const renewAt = now + ((notAfter - now) * 2) / 3;
    entries.set(host.name, { context, issuer: signing.fingerprint, notBefore, renewAt, notAfter });
    if (entries.size > max) {
      const [oldest] = entries.keys();
      if (oldest !== undefined) entries.delete(oldest);
    }
    return context;
  };

  /** In force, whatever else speaks for another. Before `notBefore`: the clock was put back since. */
  const isValid = ({ notBefore, notAfter }: Entry, now: EpochMs): boolean => now >= notBefore && now < notAfter;

  return {
    get({ kind, name }) {
      const entry = entries.get(name);
      const now = clock.now();
      if (
        entry !== undefined &&
        now < entry.renewAt &&
        now >= entry.notBefore &&
        entry.issuer === authority.current().fingerprint
      ) {
        entries.delete(name);
        entries.set(name, entry);
        return entry.context;
      }
      const inFlight = pending.get(name);
      if (inFlight !== undefined) return inFlight;
      if (!admit(clock.monotonic())) {
        // A renewal can wait as long as the leaf lasts; others must not be able to crowd it out.
        if (entry !== undefined && isValid(entry, now)) return entry.context;
        return Promise.reject(new SidekeyError("OVERLOADED", { detail: "Too many certificates are asked for." }));
      }
      const minting = mint({ kind, name }).finally(() => pending.delete(name));
      pending.set(name, minting);
      return minting;
    },
  };
};

/** At most `limit` in any window of `windowMs`, exactly: it remembers the last `limit` times. */
const createRate = (limit: number, windowMs: number): ((now: number) => boolean) => {
  const times = new Float64Array(limit).fill(Number.NEGATIVE_INFINITY);
  let next = 0;
  return (now) => {
    if (now - (times[next] ?? 0) < windowMs) return false;
    times[next] = now;
    next = (next + 1) % limit;
    return true;
  };
};
