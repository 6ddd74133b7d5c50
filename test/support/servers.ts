/**
 * Queries and cookies as servers read them: what each finds under one name. Some are the platform's own, the others written
 * after what those servers do; they share nothing with what sets a parameter or a cookie.
 */
import { parse as parseNodeQuery } from "node:querystring";

/** Every value under `name`. Values may still be escaped. */
export type Reader = (text: string, name: string) => readonly string[];

const decode = (text: string): string =>
  text.replace(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));

/** `name=value` or a name alone. */
const pairsOf = (text: string, separator: RegExp): readonly (readonly [name: string, value: string])[] =>
  text.split(separator).map((pair) => {
    const equals = pair.indexOf("=");
    return equals === -1 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
  });

const valuesOf = (pairs: readonly (readonly [string, string])[], isNamed: (name: string) => boolean): string[] =>
  pairs.filter(([name]) => isNamed(name)).map(([, value]) => value);

/** Leading spaces go, a NUL ends it, what is in brackets makes it a list, and odd characters become `_`. */
const phpName = (decoded: string): string => {
  const name = decoded.replace(/^ +/, "").replace(/\0.*$/s, "");
  const bracket = name.indexOf("[");
  const isList = bracket > 0 && name.includes("]", bracket);
  return (isList ? name.slice(0, bracket) : name).replace(/[ .[]/g, "_");
};

/** Of a query without its `?`. */
export const QUERY_READERS: Readonly<Record<string, Reader>> = {
  "WHATWG URL": (query, name) => new URLSearchParams(`&${query}`).getAll(name),
  "WHATWG URL, a question mark cut off": (query, name) => new URLSearchParams(query).getAll(name),
  "node:querystring": (query, name) => [parseNodeQuery(query)[name] ?? []].flat(),
  "one that ignores case": (query, name) =>
    valuesOf([...new URLSearchParams(`&${query}`)], (one) => one.toLowerCase() === name),
  "one that splits at semicolons": (query, name) =>
    valuesOf(pairsOf(query, /[&;]/), (one) => decode(one) === name).map(decode),
  PHP: (query, name) =>
    valuesOf(pairsOf(query, /&/), (one) => phpName(decode(one.replaceAll("+", " "))) === name).map(decode),
};

/** CPython's http.cookies: word by word, until one is none or has no value. */
const pythonCookies = (cookies: string): readonly (readonly [string, string])[] => {
  const word =
    /\s*([\w!#%&'~`><@,:/$*+\-.^|)(?}{=]+?)(?:\s*=\s*("(?:[^\\"]|\\.)*"|[\w!#%&'~`><@,:/$*+\-.^|)(?}{=[\]]*))?\s*(?:\s+|;|$)/y;
  const found: (readonly [string, string])[] = [];
  while (word.lastIndex < cookies.length) {
    const [, name, value] = word.exec(cookies) ?? [];
    if (name === undefined || value === undefined) break;
    found.push([name, value]);
  }
  return found;
};

const trimmed = (cookies: string, separator: RegExp): readonly (readonly [string, string])[] =>
  pairsOf(cookies, separator).map(([name, value]) => [name.trim(), value.trim()]);

/** Of a Cookie header. */
export const COOKIE_READERS: Readonly<Record<string, Reader>> = {
  "RFC 6265": (cookies, name) => valuesOf(trimmed(cookies, /;/), (one) => one === name),
  "one that decodes names and ignores case": (cookies, name) =>
    valuesOf(trimmed(cookies, /;/), (one) => decode(one).toLowerCase() === name),
  PHP: (cookies, name) => valuesOf(trimmed(cookies, /;/), (one) => phpName(decode(one)) === name),
  // A name without a value is none there.
  "RFC 2109": (cookies, name) =>
    valuesOf(trimmed(cookies.replace(/(?<=^|[;,])[^=;,]*(?=[;,]|$)/g, ""), /[;,]/), (one) => one === name),
  "Python's http.cookies": (cookies, name) => valuesOf(pythonCookies(cookies), (one) => one === name),
};
