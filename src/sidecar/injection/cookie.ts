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

/**
 * Old servers (RFC 2109 and 2965) split at commas and spaces too. Between those only what has a `=` is taken for a cookie;
 * the rest is part of some other one's value.
 */
const withoutCookie = (value: string, folded: string): string => {
  // Pieces at even places, what separates them at odd ones.
  const parts = value.split(/([;,\s]+)/);
  const isEdge = (separator: string | undefined): boolean => separator === undefined || separator.includes(";");
  let kept: string | undefined;
  let isWhole = true;
  for (let i = 0; i < parts.length; i += 2) {
    const piece = parts[i] as string;
    const [name = ""] = piece.split("=", 1);
    const isCookie = name !== piece || (isEdge(parts[i - 1]) && isEdge(parts[i + 1]));
    if (isCookie && isReadAs(name, folded)) isWhole = false;
    else kept = kept === undefined ? piece : `${kept}${parts[i - 1]}${piece}`;
  }
  return isWhole ? value : (kept ?? "");
};
