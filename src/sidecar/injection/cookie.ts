/** The cookies of an outgoing request: the agent's own copies of one out, ours in, every other byte as it came. */
import { SidekeyError } from "../../core/errors.ts";
import { foldHeaderName } from "../../core/headers.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import { isReadAs } from "./parameter-name.ts";

/** RFC 6265 section 4.1.1: no controls, spaces, quotes, commas, semicolons, backslashes; ASCII alone. */
const COOKIE_VALUE = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+$/;

/** Errors: SOURCE_BAD_VALUE. */
export const cookieText = (secret: SecretValue): string => {
  const text = secret.lend((bytes) => bytes.toString("latin1"));
  if (COOKIE_VALUE.test(text)) return text;
  throw new SidekeyError("SOURCE_BAD_VALUE", {
    detail:
      "The secret holds a character that no cookie can (a space, quote, comma, semicolon, backslash or non-ASCII).",
  });
};

/**
 * Sets `pair` in `headers` (flat), as the first cookie of the only Cookie header: behind the agent's it could end up inside
 * a quote that the agent opened. `folded`: its name from `foldParameterName`.
 */
export const setCookie = (headers: string[], folded: string, pair: string): void => {
  let cookies = pair;
  for (let i = 0; i < headers.length; ) {
    if (foldHeaderName(headers[i] as string) !== "cookie") {
      i += 2;
      continue;
    }
    const kept = withoutCookie(headers[i + 1] as string, folded);
    if (kept !== "") cookies += `; ${kept}`;
    headers.splice(i, 2);
  }
  headers.push("Cookie", cookies);
};

const withoutCookie = (value: string, folded: string): string => {
  const pairs = value.split(";");
  const isOther = (pair: string): boolean => !isReadAs(nameIn(pair), folded);
  // Once more at the end: what is left of a pair may be named like ours.
  const others = pairs
    .filter(isOther)
    .map((pair) => withoutInner(pair, folded))
    .filter(isOther);
  return others.length === pairs.length ? others.join(";") : others.join(";").replace(/^\s+/, "");
};

const nameIn = (pair: string): string => pair.split("=", 1)[0] ?? "";

/**
 * One pair without those that old servers (RFC 2109 and 2965) see inside it, because they split at commas and spaces too.
 * Only what has a `=` is one of those; the rest is part of the pair's value.
 */
const withoutInner = (pair: string, folded: string): string => {
  // Words at even places, what separates them at odd ones.
  const parts = pair.split(/([,\s]+)/);
  let kept = parts[0] as string;
  for (let i = 2; i < parts.length; i += 2) {
    let word = parts[i] as string;
    const before = parts[i - 1] as string;
    // Spaces before the `=` belong to the name.
    if (parts[i + 2]?.startsWith("=") === true && parts[i + 1]?.includes(",") === false) {
      word += `${parts[i + 1]}${parts[i + 2]}`;
      i += 2;
    }
    if (!word.includes("=") || !isReadAs(nameIn(word), folded)) kept += before + word;
  }
  return kept;
};
