/**
 * How hard a secret is to guess, estimated. Only for deciding how careful to be: an echo confirms a guess, which is no
 * use against a random key, and everything against a PIN. Pure; says a number, never anything of the value.
 */

/** Below this many bits a secret counts as guessable (guarantees.md A5, ruling 5). */
export const WEAK_BITS = 64;

const DIGITS = 10;
const HEX_DIGITS = 16;
const LETTERS = 26;
const OTHER_PRINTABLE = 33;
const NOT_ASCII = 128;

/**
 * Length times the bits of the alphabet it seems to come from; a character that goes on with a run (`aaa`, `123`, `321`)
 * counts one bit. Too high for words: it can't know them. `bits`
 */
export const estimateBits = (secret: Buffer): number => {
  const perCharacter = Math.log2(alphabetOf(secret));
  let bits = 0;
  let before = Number.NaN;
  for (let i = 0; i < secret.length; i++) {
    const step = i === 0 ? Number.NaN : (secret[i] ?? 0) - (secret[i - 1] ?? 0);
    bits += step === before && Math.abs(step) <= 1 ? 1 : perCharacter;
    before = step;
  }
  return bits;
};

const alphabetOf = (secret: Buffer): number => {
  const text = secret.toString("latin1");
  if (/^(?:[0-9a-f]*|[0-9A-F]*)$/.test(text)) return /[a-f]/i.test(text) ? HEX_DIGITS : DIGITS;
  let size = 0;
  if (/[0-9]/.test(text)) size += DIGITS;
  if (/[a-z]/.test(text)) size += LETTERS;
  if (/[A-Z]/.test(text)) size += LETTERS;
  if (/[\x20-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]/.test(text)) size += OTHER_PRINTABLE;
  if (/[\x80-\xff]/.test(text)) size += NOT_ASCII;
  return Math.max(1, size);
};

/** Whether any of what went over the wire for one secret (itself, and what was derived from it) is guessable. */
export const isWeak = (values: readonly Buffer[]): boolean => values.some((value) => estimateBits(value) < WEAK_BITS);
