/**
 * What an agent finds where it looks for a key: no credential anywhere, of the shape that its SDK checks for, and the
 * same from run to run of one state directory, so that an agent may cache it.
 */
import { createHash } from "node:crypto";

/** Hexadecimal digits. 48 bits: no two routes of a file meet, and no one takes it for a key. */
const MARK_LENGTH = 12;
const MARK_BITS = MARK_LENGTH * 4;

const MIN_LENGTH = 16;
const MAX_LENGTH = 256;

const DIGITS = "0123456789";
const LOWER = "abcdefghijklmnopqrstuvwxyz";

/** What `{alnum:N}` and the like in a shape stand for: N characters of one of these. */
const ALPHABETS: Readonly<Record<string, string>> = {
  hex: `${DIGITS}abcdef`,
  digits: DIGITS,
  lower: `${DIGITS}${LOWER}`,
  alnum: `${DIGITS}${LOWER}${LOWER.toUpperCase()}`,
};

const PART = /\{([a-z]+):([0-9]{1,3})\}/g;

/** What is wrong with a shape, or undefined: text in which `{alnum:N}`, `{hex:N}`, … are filled for each route. */
export const shapeProblem = (shape: string): string | undefined => {
  if (!/^[!-~]+$/.test(shape)) return "must be printable ASCII without spaces";
  let bits = 0;
  let length = shape.replaceAll(PART, "").length;
  for (const [, name = "", count] of shape.matchAll(PART)) {
    const alphabet = Object.hasOwn(ALPHABETS, name) ? ALPHABETS[name] : undefined;
    if (alphabet === undefined) return `knows {hex:N}, {digits:N}, {lower:N} and {alnum:N} alone`;
    bits += Number(count) * Math.log2(alphabet.length);
    length += Number(count);
  }
  if (/[{}]/.test(shape.replaceAll(PART, ""))) return "has a brace that begins or ends no part like {alnum:24}";
  if (length < MIN_LENGTH || length > MAX_LENGTH) return `must make ${MIN_LENGTH} to ${MAX_LENGTH} characters`;
  return bits < MARK_BITS ? `must leave ${MARK_BITS} bits to tell routes apart` : undefined;
};

/**
 * The placeholder of a route: its shape filled, or without one `sidekey-placeholder-ROUTE-MARK` of letters, digits,
 * `.`, `_` and `-`. `stateDirectory` is absolute.
 */
export const placeholderOf = (route: string, stateDirectory: string, shape?: string): string => {
  const seed = `${stateDirectory}\0${route}`;
  if (shape !== undefined) return fill(shape, seed);
  const readable = route.replace(/[^A-Za-z0-9._-]+/g, "-");
  const mark = createHash("sha256").update(seed).digest("hex").slice(0, MARK_LENGTH);
  return `sidekey-placeholder-${readable}-${mark}`;
};

/** One byte for a character: the small leaning to an alphabet's first letters harms nothing here. */
const fill = (shape: string, seed: string): string => {
  const bytes = createHash("shake256", { outputLength: MAX_LENGTH }).update(seed).digest();
  let at = 0;
  return shape.replaceAll(PART, (_, name: string, count: string) => {
    const alphabet = ALPHABETS[name] ?? DIGITS;
    const part = bytes.subarray(at, at + Number(count));
    at += Number(count);
    return Array.from(part, (byte) => alphabet.charAt(byte % alphabet.length)).join("");
  });
};
