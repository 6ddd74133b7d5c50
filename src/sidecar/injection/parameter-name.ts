/**
 * Names of query parameters and cookies as servers may read them. Frameworks differ: some decode twice, some ignore case,
 * PHP makes one name of `api_key`, `api.key` and ` api_key`, and others take `api_key[]` for a value of `api_key`. Wherever
 * one of them would read a name as ours, it is ours. Pure.
 */
import { percentDecode } from "../../core/percent.ts";

/** Like `foldHeaderName`: lower case, and `-` for all but letters and digits. */
export const foldParameterName = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "-");

/** Whether some server reads `raw`, a name as it was sent, as the one that folds to `folded`. */
export const isReadAs = (raw: string, folded: string): boolean => {
  // No reading is longer than what was sent.
  if (raw.length < folded.length) return false;
  const decoded = percentDecode(percentDecode(raw.replaceAll("+", " ")));
  if (!decoded.includes("\0")) return isNamed(decoded, folded);
  // Some end a text there, others leave the byte out.
  const [start = ""] = decoded.split("\0", 1);
  return isNamed(start, folded) || isNamed(decoded.replaceAll("\0", ""), folded);
};

const isNamed = (name: string, folded: string): boolean => {
  // Not `\s+$`: that takes quadratic time for spaces in the middle.
  const trimmed = name.replace(/^[\s?]+/, "").trimEnd();
  if (foldParameterName(trimmed) === folded) return true;
  const bracket = trimmed.indexOf("[");
  return bracket > 0 && foldParameterName(trimmed.slice(0, bracket).trimEnd()) === folded;
};
