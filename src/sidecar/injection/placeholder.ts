/**
 * Placeholders of an outgoing request: found wherever they would leave, swapped for the secret where their route says so,
 * refused everywhere else (ruling 22). Never looks into a body.
 */
import { SidekeyError } from "../../core/errors.ts";
import { foldHeaderName } from "../../core/headers.ts";
import { percentDecode, percentEncode, UNRESERVED_MARKS } from "../../core/percent.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import { canonicalPath } from "../policy/path.ts";
import { cookieText } from "./cookie.ts";
import { type OutboundTarget, wireText } from "./injector.ts";
import { pathEncode } from "./path-encode.ts";
import type { Place } from "./place.ts";

/** Each is at least this long, so nothing shorter holds one. */
const MIN_PLACEHOLDER = 16;

export interface Placeholder {
  readonly places: readonly Place[];
  /** Which of the route's secrets takes its place. */
  readonly secret: number;
}

/** Finds each of the file's placeholders, and those of these patterns; undefined: there can be none. */
export const compilePlaceholders = (texts: readonly string[], patterns: readonly string[] = []): RegExp | undefined => {
  const all = [...texts.map((text) => text.replace(/\W/g, "\\$&")), ...patterns];
  return all.length === 0 ? undefined : new RegExp(all.join("|"), "g");
};

export interface Swapped extends OutboundTarget {
  /** Secrets that were put in, by their number. */
  readonly used: ReadonlySet<number>;
}

type Secrets = readonly { readonly value: SecretValue }[];

/**
 * Swaps in `headers` (flat, in place) and in the target. `all` finds the file's placeholders, `own` has this route's.
 * Errors: INJECT_PLACEHOLDER_MISPLACED, SOURCE_BAD_VALUE.
 */
export const swapPlaceholders = (
  headers: string[],
  request: OutboundTarget,
  all: RegExp,
  own: ReadonlyMap<string, Placeholder>,
  secrets: Secrets,
): Swapped => {
  const swapper = new Swapper(all, own, secrets);
  for (let i = 0; i < headers.length; i += 2) {
    headers[i + 1] = swapper.header(headers[i] as string, headers[i + 1] as string);
  }
  const { method } = request;
  return { method, path: swapper.path(request.path), query: swapper.query(request.query), used: swapper.used };
};

/** How a secret is written in one place. */
type Spell = (secret: SecretValue) => string;

const latin1: Spell = (secret) => secret.lend((bytes) => bytes.toString("latin1"));
const inQuery: Spell = (secret) => secret.lend((bytes) => percentEncode(bytes, UNRESERVED_MARKS));
const inPath: Spell = (secret) => secret.lend((bytes) => pathEncode(bytes, "segment"));

/** RFC 7617 section 2, whose scheme has no case; and the lenient alphabet of some clients. */
const BASIC = /^(basic) +([A-Za-z0-9+/_=-]+) *$/i;

const startsLikeBasic = (value: string): boolean => (value.charCodeAt(0) | 0x20) === 0x62;

class Swapper {
  readonly #all: RegExp;
  readonly #own: ReadonlyMap<string, Placeholder>;
  readonly #secrets: Secrets;
  readonly #seen = new Set<string>();
  readonly used = new Set<number>();

  constructor(all: RegExp, own: ReadonlyMap<string, Placeholder>, secrets: Secrets) {
    this.#all = all;
    this.#own = own;
    this.#secrets = secrets;
  }

  header(name: string, value: string): string {
    if (name.length >= MIN_PLACEHOLDER && this.#holds(name)) throw misplaced("a header's name");
    if (value.length < MIN_PLACEHOLDER) return value;
    const folded = foldHeaderName(name);
    const [, scheme = "", blob = ""] = (startsLikeBasic(value) && BASIC.exec(value)) || [];
    const pair = blob === "" ? "" : Buffer.from(blob, "base64").toString("latin1");
    if (pair !== "" && this.#holds(pair)) {
      const swapped = this.#swap(
        literally(pair),
        () => (folded === "authorization" ? { in: "basic" } : undefined),
        latin1,
      );
      return `${scheme} ${Buffer.from(swapped, "latin1").toString("base64")}`;
    }
    const spell = folded === "cookie" ? cookieText : wireText;
    return this.#swap(literally(value), () => ({ in: "header", name }), spell);
  }

  query(query: string): string {
    if (query.length < MIN_PLACEHOLDER) return query;
    return this.#swap(decoded(query, true), (start, end) => parameterAt(query, start, end), inQuery);
  }

  path(path: string): string {
    if (path.length < MIN_PLACEHOLDER) return path;
    const swapped = this.#swap(decoded(path, false), () => ({ in: "path" }), inPath);
    if (swapped === path || canonicalPath(swapped) === swapped) return swapped;
    throw new SidekeyError("SOURCE_BAD_VALUE", { detail: "In a path the secret would have two readings." });
  }

  #holds(text: string): boolean {
    return text.search(this.#all) !== -1;
  }

  /** `placeAt`: undefined where it is in no place that 'in' could name. */
  #swap(reading: Reading, placeAt: (start: number, end: number) => Place | undefined, spell: Spell): string {
    const { raw, text, at } = reading;
    // Nearly everything.
    if (!raw.includes("%") && !this.#holds(text)) return raw;
    let swapped = "";
    let rest = 0;
    let count = 0;
    for (const { 0: found, index } of text.matchAll(this.#all)) {
      count += 1;
      const start = at(index);
      const end = at(index + found.length);
      swapped += raw.slice(rest, start) + spell(this.#take(found, placeAt(start, end)));
      rest = end;
    }
    // Escaped where nobody undoes it before the server does, or once more than that.
    const deeper = raw.includes("%") ? percentDecode(percentDecode(raw.replaceAll("+", " "))) : "";
    if ((deeper.match(this.#all)?.length ?? 0) > count) throw misplaced("an escape");
    return count === 0 ? raw : swapped + raw.slice(rest);
  }

  /** The secret for a placeholder that was found in this place. */
  #take(found: string, place: Place | undefined): SecretValue {
    const own = this.#own.get(found);
    if (own === undefined) throw misplaced("a request of another route");
    if (place === undefined || !own.places.some((one) => isPlace(one, place))) {
      throw misplaced(place === undefined ? "what no route can name" : `the ${place.in}`);
    }
    if (this.#seen.has(found)) throw misplaced("two places");
    this.#seen.add(found);
    const secret = this.#secrets[own.secret];
    if (secret === undefined) throw new SidekeyError("INTERNAL", { detail: "a placeholder without its secret" });
    this.used.add(own.secret);
    return secret.value;
  }
}

/** Where it was found, in our words: an agent chooses names. */
const misplaced = (where: string): SidekeyError =>
  new SidekeyError("INJECT_PLACEHOLDER_MISPLACED", { detail: `a placeholder in ${where}` });

const isPlace = (declared: Place, found: Place): boolean => {
  if (declared.in === "header" && found.in === "header") {
    return foldHeaderName(declared.name) === foldHeaderName(found.name);
  }
  if (declared.in === "query" && found.in === "query") return declared.name === found.name;
  return declared.in === found.in && (declared.in === "basic" || declared.in === "path");
};

/** The parameter with these bytes in its value; undefined where they are in a name, or in two parameters. */
const parameterAt = (query: string, start: number, end: number): Place | undefined => {
  const from = Math.max(1, query.lastIndexOf("&", start) + 1);
  const equals = query.indexOf("=", from);
  if (equals === -1 || equals >= start || query.slice(from, end).includes("&")) return undefined;
  // Some servers split at `;` too: to them what stands behind one has another name, or is one.
  if (query.slice(equals, start).includes(";")) return undefined;
  return { in: "query", name: percentDecode(query.slice(from, equals).replaceAll("+", " ")) };
};

/** A text as it is read, and where in the raw one each of its characters begins. */
interface Reading {
  readonly raw: string;
  readonly text: string;
  at(index: number): number;
}

const literally = (raw: string): Reading => ({ raw, text: raw, at: (index) => index });

/** With escapes decoded, and `+` where it is a space. */
const decoded = (raw: string, plusIsSpace: boolean): Reading => {
  if (!raw.includes("%") && !(plusIsSpace && raw.includes("+"))) return literally(raw);
  const starts: number[] = [];
  let text = "";
  for (let i = 0; i < raw.length; ) {
    starts.push(i);
    const [triplet] = /^%[0-9a-f]{2}/i.exec(raw.slice(i, i + 3)) ?? [];
    if (triplet !== undefined) text += percentDecode(triplet);
    else text += plusIsSpace && raw[i] === "+" ? " " : raw[i];
    i += triplet?.length ?? 1;
  }
  return { raw, text, at: (index) => starts[index] ?? raw.length };
};
