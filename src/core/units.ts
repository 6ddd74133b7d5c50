/** Durations and sizes as people write them. */

const DURATION_UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const SIZE_UNITS = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

/** Grammars. */
export const DURATION = /^(0|[1-9][0-9]{0,12})(ms|s|m|h|d)$/;
export const SIZE = /^(0|[1-9][0-9]{0,12})(KiB|MiB|GiB)$/;

/** `30s` as milliseconds, or undefined when it is no duration. */
export const parseDuration = (text: string): number | undefined => measure(DURATION, DURATION_UNITS, text);

/** `100MiB` as bytes, or undefined when it is no size. */
export const parseSize = (text: string): number | undefined => measure(SIZE, SIZE_UNITS, text);

const measure = (grammar: RegExp, units: Readonly<Record<string, number>>, text: string): number | undefined => {
  const [, digits, unit = ""] = grammar.exec(text) ?? [];
  const factor = units[unit];
  if (digits === undefined || factor === undefined) return undefined;
  const value = Number(digits) * factor;
  return Number.isSafeInteger(value) ? value : undefined;
};
