/**
 * The names of content codings, what we offer and understand of them, and what decoders tell. Pure.
 */

export type Coding = "gzip" | "deflate" | "br";

/** What upstreams are offered. RFC 9110 section 12.5.3. */
export const OFFERED_CODINGS = "gzip, deflate, br";

/** Codings on top of each other; more is nobody's honest response. */
const MAX_CODINGS = 3;

/** RFC 9110 section 8.4.1: `x-gzip` is gzip. */
const CODINGS: ReadonlyMap<string, Coding> = new Map([
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["deflate", "deflate"],
  ["br", "br"],
]);

/**
 * The codings of a Content-Encoding value in the order in which they are to be taken off, the last applied first; empty
 * when there is none. Undefined: one of them is unknown, or there are too many.
 */
export const parseCodings = (contentEncoding: string): readonly Coding[] | undefined => {
  const codings: Coding[] = [];
  for (const part of contentEncoding.split(",")) {
    const name = part.trim().toLowerCase();
    if (name === "" || name === "identity") continue;
    const coding = CODINGS.get(name);
    if (coding === undefined || codings.length === MAX_CODINGS) return undefined;
    codings.unshift(coding);
  }
  return codings;
};

/** Whether an Accept-Encoding value asks for anything that we can decode (RFC 9110 section 12.5.3; `q=0` is a no). */
export const acceptsCodings = (acceptEncoding: string): boolean =>
  acceptEncoding.split(",").some((part) => {
    const [name = "", ...parameters] = part.split(";");
    const coding = name.trim().toLowerCase();
    if (coding !== "*" && !CODINGS.has(coding)) return false;
    return !parameters.some((parameter) => /^\s*q\s*=\s*0(?:\.0*)?\s*$/i.test(parameter));
  });

/**
 * RFC 9110 section 8.4.1.2: deflate is the zlib format, and some servers send the raw one. The zlib header is a check
 * sum over two bytes that no common raw stream begins with (RFC 1950 section 2.2).
 */
export const isZlibHeader = (first: number, second: number): boolean =>
  (first & 0x0f) === 8 && first >> 4 <= 7 && ((first << 8) | second) % 31 === 0;

/** Output up to this size is free of the limit below. `bytes` */
export const FREE_OUTPUT = 16 * 1024 * 1024;
/** Output for each byte of input past which a body counts as a bomb. Text stays under 100; gzip can reach 1,030. */
export const MAX_RATIO = 400;

/** What a decoder tells. After `end` or `broken` it is silent. */
export interface DecoderEvents {
  /** The chunk is the receiver's own to keep or change. */
  data(chunk: Buffer): void;
  /** The first bytes were accepted, even if nothing came out of them yet. */
  begun(): void;
  /** The body is whole. */
  end(): void;
  /** For the operator: what is wrong with the data. */
  broken(why: string): void;
  /** It has enough; wait for `drained`. */
  full(): void;
  drained(): void;
}
