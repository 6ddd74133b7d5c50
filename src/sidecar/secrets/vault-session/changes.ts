/** How often each secret changed, as far as anybody said: what a cached value's age is measured by beside time. */
import type { SecretRef } from "../source.ts";

export interface ChangeCounts {
  /** Nobody knows what changed. */
  everything(): void;
  secret(path: string): void;
  /** A token ended: what its placeholders stood for they do no longer, whichever those are. */
  token(): void;
  /** Of all, or of the secret at `path`. */
  count(path: string | undefined): number;
}

/** More changes of one secret than this between two of everything would be taken for those. */
const PER_EPOCH = 2 ** 20;

export const createChangeCounts = (): ChangeCounts => {
  let epoch = 0;
  let all = 0;
  const secrets = new Map<string, number>();
  return {
    everything() {
      epoch += 1;
      all += 1;
      secrets.clear();
    },
    secret(path) {
      secrets.set(path, (secrets.get(path) ?? 0) + 1);
      all += 1;
    },
    token() {
      all += 1;
    },
    count: (path) => (path === undefined ? all : epoch * PER_EPOCH + (secrets.get(path) ?? 0)),
  };
};

/** Undefined: what the reference leads to is not known before it is asked for. */
export const pathIn = (ref: SecretRef, pathOf: (name: string) => string | undefined): string | undefined => {
  if (ref.issued !== undefined) return undefined;
  return ref.path.includes("/") ? ref.path : pathOf(ref.path);
};
