/**
 * Secret references to values: the cache (the only user of lru-cache), one fetch in flight per reference, and the cut
 * of a `#FIELD`. Fresh values come back without a promise, since that is nearly every request.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { SecretValue } from "../../core/secret-value.ts";
import { isVersioned, type SecretMaterial, type SecretRef, type SecretSource } from "./source.ts";
import { checkSecretBytes } from "./value-check.ts";

export interface CachePolicy {
  /** `ms` */
  readonly maxAgeMs: number;
  /** After `maxAgeMs`, while the source is unavailable, `ms`. */
  readonly staleWhileErrorMs: number;
}

export interface SecretResolver {
  /** Errors: SOURCE_*, and what the source's `fetch` throws. */
  resolve(ref: SecretRef, agent: string, policy: CachePolicy): SecretMaterial | Promise<SecretMaterial>;
}

interface Entry {
  readonly material: SecretMaterial;
  /** Monotonic, `ms`. */
  readonly fetchedAt: number;
  /** Of the source when the fetch began. */
  readonly generation: number;
}

const MAX_ENTRIES = 4096;

export const createSecretResolver = (sources: ReadonlyMap<string, SecretSource>, clock: Clock): SecretResolver => {
  // Entries hold SecretValue objects, so lru-cache's diagnostics channel shows no bytes.
  const cache = new LRUCache<string, Entry>({ max: MAX_ENTRIES });
  const inFlight = new Map<string, Promise<SecretMaterial>>();

  const sourceOf = (ref: SecretRef): SecretSource => {
    const source = sources.get(ref.source);
    if (source === undefined) throw new SidekeyError("INTERNAL", { detail: `source ${ref.source} is not built` });
    return source;
  };

  const load = async (
    source: SecretSource,
    ref: SecretRef,
    agent: string,
    generation: number,
  ): Promise<SecretMaterial> => {
    const whole = await source.fetch(ref, { agent });
    const material = ref.field.length === 0 ? whole : { ...whole, value: cutField(whole.value, ref) };
    cache.set(ref.text, { material, fetchedAt: clock.monotonic(), generation });
    return material;
  };

  const refresh = (
    source: SecretSource,
    ref: SecretRef,
    agent: string,
    generation: number,
  ): Promise<SecretMaterial> => {
    const key = `${generation} ${ref.text}`;
    let fetching = inFlight.get(key);
    if (fetching === undefined) {
      fetching = load(source, ref, agent, generation).finally(() => inFlight.delete(key));
      inFlight.set(key, fetching);
    }
    return fetching;
  };

  return {
    resolve(ref, agent, { maxAgeMs, staleWhileErrorMs }) {
      const source = sourceOf(ref);
      const generation = isVersioned(source) ? source.generation() : 0;
      const entry = cache.get(ref.text);
      if (entry === undefined) return refresh(source, ref, agent, generation);
      const age = clock.monotonic() - entry.fetchedAt;
      const { notAfter } = entry.material;
      if (notAfter !== undefined && clock.now() >= notAfter) return refresh(source, ref, agent, generation);
      if (age < maxAgeMs && entry.generation === generation) return entry.material;
      return refresh(source, ref, agent, generation).catch((error: unknown) => {
        const outage = isSidekeyError(error) && error.code === "SOURCE_UNAVAILABLE";
        if (outage && clock.monotonic() - entry.fetchedAt < maxAgeMs + staleWhileErrorMs) return entry.material;
        // Gone, forbidden or too old: never the old value again.
        cache.delete(ref.text);
        throw error;
      });
    },
  };
};

/** One member of a JSON object. Nothing of the text may get into the error: JSON.parse quotes its input. */
const cutField = (value: SecretValue, ref: SecretRef): SecretValue => {
  const fail = (why: string): never => {
    throw new SidekeyError("SOURCE_BAD_VALUE", { detail: `${ref.text}: ${why}` });
  };
  let node: unknown = value.lend((bytes) => {
    try {
      return JSON.parse(bytes.toString("utf8")) as unknown;
    } catch {
      return undefined;
    }
  });
  for (const member of ref.field) {
    if (typeof node !== "object" || node === null || Array.isArray(node) || !Object.hasOwn(node, member)) {
      return fail("the value is not a JSON object with that field");
    }
    node = (node as Record<string, unknown>)[member];
  }
  if (typeof node !== "string" && typeof node !== "number") return fail("the field is neither text nor number");
  const bytes = Buffer.from(String(node), "utf8");
  checkSecretBytes(bytes, ref.text);
  return new SecretValue(bytes);
};
