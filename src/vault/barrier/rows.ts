/** The kinds of rows that a store holds, by the beginning of their key, and which row of the barrier each is. */
import type { RowName } from "./barrier.ts";

/** Metadata of secrets: `meta:PATH`. */
export const META = "meta:";
/** Values of secrets: `value:PATH@VERSION`. */
export const VALUE = "value:";

/** That a secret was here lately: `gone:PATH`. */
export const GONE = "gone:";
/** Tokens that were issued: `token:JTI`. */
export const TOKEN = "token:";
/** What changed lately: `change:SLOT`, and `change:head` (changes.ts). */
export const CHANGE = "change:";
/** Stand-ins for values, and the key they are made with (placeholders.ts). */
export const PLACEHOLDER = "placeholder:";

export const valueKey = (path: string, version: number): string => `${VALUE}${path}@${version}`;

/** Kinds that belong to the secrets: what a backup holds. */
export const isSecretRow = (key: string): boolean => key.startsWith(META) || key.startsWith(VALUE);

/** What a row is sealed as; undefined for a key that no secret has. */
export const secretRowName = (key: string): RowName | undefined => {
  if (key.startsWith(META)) return { path: key, version: 0 };
  const [, path, version] = /^value:([^@]+)@([1-9][0-9]{0,15})$/.exec(key) ?? [];
  return path === undefined ? undefined : { path, version: Number(version) };
};
