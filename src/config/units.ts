/** Zod types for what the file writes as text: durations, sizes, names. Messages never hold the text. */
import * as z from "zod";
import { DURATION, parseDuration, parseSize, SIZE } from "../core/units.ts";

export { parseDuration, parseSize };

/** What timers of Node can wait, about 24 days. `ms` */
export const MAX_TIMER_MS = 2 ** 31 - 1;

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

const DURATION_FORM = "must be a duration: a whole number with ms, s, m, h or d, like 30s";
const SIZE_FORM = "must be a size: a whole number with KiB, MiB or GiB, like 100MiB";

/** Text to milliseconds; bounds in `ms`, zero and MAX_TIMER_MS unless given. */
export const duration = ({ min = 0, max = MAX_TIMER_MS }: Bounds = {}) =>
  z
    .string({ error: DURATION_FORM })
    .meta({ pattern: DURATION.source, examples: ["30s", "5m"] })
    .transform((text, context) => {
      const value = parseDuration(text);
      if (value === undefined) return refuse(context, DURATION_FORM);
      if (value < min) return refuse(context, min === 1 ? "must be more than zero" : `must be ${min}ms or more`);
      return value > max ? refuse(context, `must be ${Math.floor(max / 86_400_000)}d or less`) : value;
    });

/** Text to bytes; bounds in bytes. */
export const size = ({ min = 0, max = Number.MAX_SAFE_INTEGER }: Bounds = {}) =>
  z
    .string({ error: SIZE_FORM })
    .meta({ pattern: SIZE.source, examples: ["100MiB"] })
    .transform((text, context) => {
      const value = parseSize(text);
      if (value === undefined) return refuse(context, SIZE_FORM);
      if (value < min) return refuse(context, `must be ${Math.ceil(min / 1024)}KiB or more`);
      return value > max ? refuse(context, `must be ${Math.floor(max / 1024)}KiB or less`) : value;
    });

/** Adds a finding and ends the transform. */
export const refuse = (context: z.RefinementCtx, message: string, hint?: string): never => {
  context.addIssue({ code: "custom", message, ...(hint !== undefined && { params: { hint } }) });
  return z.NEVER;
};

/** Name of an agent: in every audit record. */
export const agentName = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "must be 1 to 64 letters, digits, '.', '_' or '-'");

export const sourceName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, "must be a lower-case letter, then up to 31 lower-case letters, digits or '-'");

export const variableName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "must be a variable's name: letters, digits and '_'");

/** A path in the file system, as written: relative to the file's directory. */
export const filePath = z
  .string()
  .min(1, "must not be empty")
  .max(4096, "is too long for a path")
  .refine((path) => !path.includes("\0"), "must not hold a NUL");
