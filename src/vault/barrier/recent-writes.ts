/**
 * The last writes of a store as a text that goes into its sum: of each its generation, and the tags of what it changed.
 * Kept short, since it is written with every write.
 */
import type { Step, Tag } from "./ledger.ts";

const TAG_BYTES = 6;
const CHANGE_BYTES = 2 * TAG_BYTES;
/** More than one write may change and still be told: who has not heard of all goes through all rows. */
const MAX_CHANGES = 128;
/** In characters: some 60 writes of a secret, or 130 of a token. */
const MAX_TEXT = 4096;
/** In place of changes that were too many. */
const MANY = "*";
const ENTRY = /^([1-9][0-9]{0,15}):(\*|[A-Za-z0-9_-]*)$/;

export const tagOf = (digest: Buffer): Tag => digest.readUIntBE(0, TAG_BYTES);

/** `text` with one write more, and without those that are the longest ago. */
export const withWrite = (text: string, generation: number, changes: ReadonlyMap<Tag, Tag>): string => {
  const entries = [...(text === "" ? [] : text.split(" ")), `${generation}:${encode(changes)}`];
  let length = entries.reduce((sum, entry) => sum + entry.length + 1, 0);
  while (length > MAX_TEXT && entries.length > 1) length -= (entries.shift()?.length ?? 0) + 1;
  return entries.join(" ");
};

const encode = (changes: ReadonlyMap<Tag, Tag>): string => {
  if (changes.size > MAX_CHANGES) return MANY;
  const bytes = Buffer.alloc(changes.size * CHANGE_BYTES);
  let at = 0;
  for (const [name, tag] of changes) {
    bytes.writeUIntBE(name, at, TAG_BYTES);
    bytes.writeUIntBE(tag, at + TAG_BYTES, TAG_BYTES);
    at += CHANGE_BYTES;
  }
  return bytes.toString("base64url");
};

/** Those after `generation`. What is no text of `withWrite`'s counts as nothing told. */
export const writesSince = (text: string, generation: number): readonly Step[] => {
  const steps: Step[] = [];
  // The newest first: mostly the last one is all that is asked for.
  for (const entry of text.split(" ").reverse()) {
    const [, number, changes = MANY] = ENTRY.exec(entry) ?? [];
    if (number === undefined || Number(number) <= generation) break;
    steps.push({ generation: Number(number), changes: changes === MANY ? undefined : decode(changes) });
  }
  return steps.reverse();
};

const decode = (text: string): readonly (readonly [Tag, Tag])[] => {
  const bytes = Buffer.from(text, "base64url");
  return Array.from({ length: Math.floor(bytes.length / CHANGE_BYTES) }, (_, n) => [
    bytes.readUIntBE(n * CHANGE_BYTES, TAG_BYTES),
    bytes.readUIntBE(n * CHANGE_BYTES + TAG_BYTES, TAG_BYTES),
  ]);
};
