/**
 * What was read from rows that hold no secret, kept as long as the row's sealed bytes and the keys are the same: a read of
 * a secret would otherwise decrypt, parse and check the same token and the same description again and again. The row itself
 * is fetched each time, so that what changed is seen. Must never be given what a secret's value is in.
 */
import type { FernetKey } from "./fernet.ts";

export interface RowMemory {
  /** What `put` was given for this row, if its bytes and the keys are those of then. */
  get(name: string, sealed: Buffer, form: object): unknown;
  /** `form`: how it was read; the same row may be read in several ways. The value is JSON, and frozen. */
  put(name: string, sealed: Buffer, form: object, value: unknown): void;
}

interface Kept {
  readonly sealed: Buffer;
  readonly form: object;
  readonly value: unknown;
}

const MAX_ROWS = 4096;

export const createRowMemory = (ring: { readonly keys: readonly FernetKey[] }): RowMemory => {
  const rows = new Map<string, Kept>();
  let keys: readonly FernetKey[] = [];

  /** What a key opened that is not in use any more must not be read on. */
  const checkKeys = (): void => {
    const now = ring.keys;
    if (now.length === keys.length && now.every((key, index) => key === keys[index])) return;
    rows.clear();
    keys = [...now];
  };

  return {
    get(name, sealed, form) {
      checkKeys();
      const kept = rows.get(name);
      return kept !== undefined && kept.form === form && kept.sealed.equals(sealed) ? kept.value : undefined;
    },
    put(name, sealed, form, value) {
      checkKeys();
      if (rows.size >= MAX_ROWS) rows.clear();
      // A copy: the store may use its buffer again.
      rows.set(name, { sealed: Buffer.from(sealed), form, value: frozen(value) });
    },
  };
};

/** All the way down: whoever gets it must not change what others get. */
const frozen = <T>(value: T): T => {
  if (typeof value === "object" && value !== null) for (const inner of Object.values(value)) frozen(inner);
  return Object.freeze(value);
};
