/**
 * Which headers of an upstream's response reach the agent: connection-level ones go (RFC 9110 section 7.6.1), ours
 * can't be forged, and on an injected route nothing that could carry the credential or defeat the scrubber stays.
 */
import { foldHeaderName, type HeaderList, HOP_BY_HOP, listedNames } from "../../core/headers.ts";
import { type Coding, parseCodings } from "../scrub/codings.ts";
import type { Matcher } from "../scrub/matcher.ts";
import { scrubValue } from "../scrub/scrubber.ts";

const ALWAYS_DROPPED: ReadonlySet<string> = new Set([...HOP_BY_HOP, "alt-svc", "content-length"]);

/** Digests of a body that may be redacted. */
const DIGESTS: readonly string[] = ["content-md5", "digest", "content-digest", "repr-digest"];

const RANGES: readonly string[] = ["accept-ranges"];

/** Credentials that we did not choose to hand out. */
const COOKIES: readonly string[] = ["set-cookie", "set-cookie2"];

/** Names, lower case, that an injected route's responses lose. Compiled once per route. */
export const createResponseDrops = (options: { allowRange: boolean; passCookies: boolean }): ReadonlySet<string> =>
  new Set([...DIGESTS, ...(options.allowRange ? [] : RANGES), ...(options.passCookies ? [] : COOKIES)]);

const OURS = "x-sidekey-";

export interface ResponseHead {
  /** Flat, without Content-Length. */
  readonly headers: string[];
  /** From the upstream's Content-Length; undefined when it gave none. */
  readonly contentLength: number | undefined;
  /** To be taken off a body that is to be searched, in this order; undefined: some that we can't. */
  readonly codings: readonly Coding[] | undefined;
  /** A stream of server-sent events. */
  readonly isEvents: boolean;
  /** Headers that held the credential. */
  readonly reflected: number;
}

/** Past what a number can hold exactly, it would be sent on as another one. */
const LENGTH = /^(?:0|[1-9][0-9]{0,14})$/;

const EVENTS = /^text\/event-stream[\t ]*(?:;|$)/i;

/**
 * Undefined when the framing can't be believed: several or malformed Content-Length headers. `lines`: the bytes that
 * `raw` came in. `drops`: from `createResponseDrops`, where `redaction` is given.
 */
export const responseHead = (
  raw: HeaderList,
  lines: Buffer,
  redaction: Matcher | undefined,
  drops: ReadonlySet<string> = NOTHING,
): ResponseHead | undefined => {
  const headers: string[] = [];
  let contentLength: number | undefined;
  let encoding = "";
  let isEvents = false;
  let reflected = 0;
  const listed = connectionNames(raw);
  // What is not in the lines is in no name and no value: nearly always one look settles all of them.
  const suspect = redaction !== undefined && contains(redaction, lines) ? redaction : undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const lower = name.toLowerCase();
    if (lower === "content-length") {
      if (contentLength !== undefined || !LENGTH.test(value)) return undefined;
      contentLength = Number(value);
      continue;
    }
    if (ALWAYS_DROPPED.has(lower) || lower.startsWith(OURS)) continue;
    if (lower === "content-encoding") encoding = encoding === "" ? value : `${encoding}, ${value}`;
    else if (lower === "content-type") isEvents = EVENTS.test(value);
    if (listed?.includes(foldHeaderName(name))) continue;
    if (redaction !== undefined && drops.has(lower)) continue;
    if (suspect === undefined) {
      headers.push(name, value);
      continue;
    }
    if (scrubText(suspect, name) !== name) {
      reflected += 1;
      continue;
    }
    const clean = scrubText(suspect, value);
    if (clean !== value) reflected += 1;
    headers.push(name, clean);
  }
  const codings = encoding === "" ? NO_CODINGS : parseCodings(encoding);
  return { headers, contentLength, codings, isEvents, reflected };
};

const contains = (redaction: Matcher, bytes: Buffer): boolean => {
  let found = false;
  redaction.find(bytes, 0, bytes.length, () => {
    found = true;
  });
  return found;
};

/** The same string where nothing was found. */
const scrubText = (redaction: Matcher, text: string): string =>
  scrubValue(redaction, Buffer.from(text, "latin1"))?.toString("latin1") ?? text;

const NOTHING: ReadonlySet<string> = new Set();
const NO_CODINGS: readonly Coding[] = [];

/**
 * The same head for the decoded body: no coding, no ranges of the coded bytes, and an entity tag that promises no equal
 * bytes (RFC 9110 section 8.8.1). Vary stays: what the upstream chose by is as true as before.
 */
export const decodedHeaders = (headers: readonly string[]): string[] => {
  const decoded: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    const lower = name.toLowerCase();
    if (lower === "content-encoding" || lower === "accept-ranges") continue;
    decoded.push(name, lower === "etag" && value.startsWith('"') ? `W/${value}` : value);
  }
  return decoded;
};

/** Names that Connection lists beside close and keep-alive: they end here (RFC 9110 section 7.6.1). */
const connectionNames = (raw: HeaderList): readonly string[] | undefined => {
  let names: string[] | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    if (name.length !== CONNECTION.length || name.toLowerCase() !== CONNECTION) continue;
    const value = raw[i + 1] as string;
    if (value === "close" || value === "keep-alive") continue;
    names = [...(names ?? []), ...listedNames(value)];
  }
  return names;
};

const CONNECTION = "connection";
