/**
 * What an agent finds where it looks for a key: a text that says what it is, is no credential anywhere, and stays the
 * same from run to run of one state directory, so that an agent may cache it.
 */
import { createHash } from "node:crypto";

/** Hexadecimal digits. 48 bits: no two routes of a file meet, and no one takes it for a key. */
const MARK_LENGTH = 12;

/** `sidekey-placeholder-ROUTE-MARK`, of letters, digits, `.`, `_` and `-`. */
export const placeholderOf = (route: string, stateDirectory: string): string => {
  const readable = route.replace(/[^A-Za-z0-9._-]+/g, "-");
  const mark = createHash("sha256").update(`${stateDirectory}\0${route}`).digest("hex").slice(0, MARK_LENGTH);
  return `sidekey-placeholder-${readable}-${mark}`;
};
