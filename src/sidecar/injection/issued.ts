/**
 * Placeholders that a vault gave to agents, found by their mark: nobody but the vault knows what one stands for. What is
 * overlooked here is refused where placeholders are swapped, so this reads no more than the usual places.
 */
import { SidekeyError } from "../../core/errors.ts";
import { percentDecode } from "../../core/percent.ts";

/**
 * The provider's own prefix, `SKP`, and at least 24 letters and digits of the vault's. Only from the beginning of a word on:
 * else each place of a long one would be tried.
 */
export const ISSUED_PATTERN = "(?<![A-Za-z0-9_-])[A-Za-z0-9_-]*SKP[A-Za-z0-9]{24,}";

/** Who needs more than this at once is trying them out. */
const MAX_ISSUED = 4;

/** What of a request is looked at. */
export interface ReadableRequest {
  /** Flat. */
  readonly headers: readonly string[];
  readonly path: string;
  readonly query: string;
}

/** Each once, in order of their text. Errors: INJECT_PLACEHOLDER_MISPLACED. */
export const findIssued = ({ headers, path, query }: ReadableRequest): readonly string[] => {
  const found = new Set<string>();
  const look = (text: string): void => {
    if (!text.includes("SKP")) return;
    for (const [placeholder] of text.matchAll(new RegExp(ISSUED_PATTERN, "g"))) found.add(placeholder);
  };
  for (let i = 1; i < headers.length; i += 2) {
    const value = headers[i] as string;
    look(value);
    const [, blob] = /^basic +([A-Za-z0-9+/_=-]+) *$/i.exec(value) ?? [];
    if (blob !== undefined) look(Buffer.from(blob, "base64").toString("latin1"));
  }
  look(percentDecode(path));
  look(percentDecode(query.replaceAll("+", " ")));
  if (found.size <= MAX_ISSUED) return [...found].sort();
  throw new SidekeyError("INJECT_PLACEHOLDER_MISPLACED", {
    detail: `more than ${MAX_ISSUED} placeholders of the vault`,
  });
};
