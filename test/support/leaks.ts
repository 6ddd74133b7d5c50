/**
 * Looks for a secret in bytes that an agent received, by decoding them in every way it might. It shares nothing with the
 * scrubber, neither a method nor a table: the scrubber spells the secret and searches for the spellings, this reads the
 * text and searches for the secret, so a spelling that one forgets the other finds.
 *
 * Every reading is bytes in a Latin-1 string, so that a secret of any bytes can be searched for in all of them.
 */

export interface LeakOptions {
  /** Any part of the secret this long is a leak. Default: the whole secret. */
  readonly fragment?: number;
  /** Also what hex, base64 and UTF-16 hold in their turn, such as JSON in base64. Slow. */
  readonly deep?: boolean;
}

/** Names of the readings in which the secret, or a fragment of it, shows; empty when nothing leaks. */
export const leaksOf = (received: Buffer, secret: Buffer, options: LeakOptions = {}): readonly string[] => {
  if (secret.length < 2 || (options.fragment ?? 2) < 2) throw new TypeError("too little to look for");
  const isIn = contains(secret.toString("latin1"), options.fragment);
  const least = options.deep === true ? 1 : Math.min(options.fragment ?? secret.length, secret.length);
  const found = new Set<string>();
  const seen = new Set<string>();
  let level: Read[] = [{ name: "literal", text: received.toString("latin1"), further: true }];
  for (let depth = 0; depth <= DEPTH; depth++) {
    const next: Read[] = [];
    for (const { name, text, further } of level) {
      if (seen.has(text)) continue;
      seen.add(text);
      if (isIn(text)) found.add(name);
      else if (further && depth < DEPTH) {
        for (const [reading, read] of READINGS) {
          const isLast = LAST.has(reading) && options.deep !== true;
          if (isLast && depth > 1) continue;
          const inner = name === "literal" ? reading : `${reading} in ${name}`;
          for (const made of read(text, least)) next.push({ name: inner, text: made, further: !isLast });
        }
      }
    }
    level = next;
  }
  return [...found];
};

/** Readings of readings of readings: JSON in JSON that took UTF-8 for Latin-1. */
const DEPTH = 3;

interface Read {
  readonly name: string;
  readonly text: string;
  /** May be read in yet another way. */
  readonly further: boolean;
}

const contains = (secret: string, fragment = secret.length): ((text: string) => boolean) => {
  const length = Math.min(fragment, secret.length);
  if (length === secret.length) return (text) => text.includes(secret);
  const fragments = new Set<string>();
  /** Which pairs of bytes begin a fragment. */
  const begins = new Uint8Array(0x10000);
  for (let at = 0; at + length <= secret.length; at++) {
    fragments.add(secret.slice(at, at + length));
    begins[pairAt(secret, at)] = 1;
  }
  return (text) => {
    for (let at = 0; at + length <= text.length; at++) {
      if (begins[pairAt(text, at)] === 1 && fragments.has(text.slice(at, at + length))) return true;
    }
    return false;
  };
};

const pairAt = (text: string, at: number): number => (text.charCodeAt(at) << 8) | (text.charCodeAt(at + 1) & 0xff);

/** All that one way of reading makes of a text: one text for each alignment or choice, of `least` bytes or more. */
type Reading = (text: string, least: number) => Iterable<string>;

/** What a character beyond ASCII is as bytes: in UTF-8, or the one byte that a server read it from as Latin-1. */
const asUtf8 = (point: number): string => Buffer.from(String.fromCodePoint(point), "utf8").toString("latin1");
const asByte = (point: number): string => (point < 0x100 ? String.fromCharCode(point) : asUtf8(point));

const percent: Reading = function* (text) {
  const read = (from: string): string =>
    from.replace(/%([0-9a-f]{2})/gi, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  yield read(text);
  yield read(text.replaceAll("+", " "));
};

const json: Reading = function* (text) {
  for (const spell of [asUtf8, asByte]) yield jsonRead(text, spell);
  if (!text.includes("\\\\")) return;
  // Nested any number of times, or read from the middle: what counts is what the backslashes stand before.
  for (const spell of [asUtf8, asByte]) yield jsonRead(text.replace(/\\+/g, "\\"), spell);
};

const SHORT_ESCAPES: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

const jsonRead = (text: string, spell: (point: number) => string): string =>
  text.replace(/((?:\\u[0-9a-f]{4})+)|\\(.)/gi, (_, run: string | undefined, short = "") => {
    if (run === undefined) return SHORT_ESCAPES[short] ?? short;
    const units = Array.from(run.matchAll(/u(....)/gi), ([, digits = ""]) => Number.parseInt(digits, 16));
    return Array.from(String.fromCharCode(...units), (c) => spell(c.codePointAt(0) ?? 0)).join("");
  });

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

const html: Reading = function* (text) {
  for (const spell of [asUtf8, asByte]) {
    yield text.replace(/&(?:#x([0-9a-f]{1,8})|#([0-9]{1,8})|([a-z]+));/gi, (whole, hexDigits, digits, name) => {
      if (name !== undefined) return ENTITIES[String(name).toLowerCase()] ?? whole;
      const point = hexDigits === undefined ? Number.parseInt(digits, 10) : Number.parseInt(hexDigits, 16);
      return point <= 0x10ffff ? spell(point) : whole;
    });
  }
};

const hex: Reading = function* (text, least) {
  for (const [run] of text.matchAll(/[0-9a-f]{4,}/gi)) {
    if (run.length < least * 2) continue;
    for (const from of [0, 1]) yield Buffer.from(run.slice(from), "hex").toString("latin1");
  }
};

/** Bit by bit, so that it may begin anywhere in the middle of an encoded text. */
const base64: Reading = function* (text, least) {
  for (const [run] of text.matchAll(/[A-Za-z0-9+/_-]{4,}/g)) {
    if (run.length * 6 < least * 8) continue;
    for (let skip = 0; skip < 4; skip++) yield sixBits(run, skip);
  }
};

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const sixBits = (run: string, skip: number): string => {
  let bits = 0;
  let have = 0;
  const bytes: number[] = [];
  for (let i = skip; i < run.length; i++) {
    const character = run[i] === "-" ? "+" : run[i] === "_" ? "/" : (run[i] ?? "");
    bits = ((bits << 6) | ALPHABET.indexOf(character)) & 0xffff;
    have += 6;
    if (have >= 8) {
      have -= 8;
      bytes.push((bits >> have) & 0xff);
    }
  }
  return Buffer.from(bytes).toString("latin1");
};

const utf16: Reading = function* (text) {
  const bytes = Buffer.from(text, "latin1");
  for (const skip of [0, 1]) {
    const little = bytes.subarray(skip, bytes.length - ((bytes.length - skip) % 2));
    for (const units of [little.toString("utf16le"), Buffer.from(little).swap16().toString("utf16le")]) {
      yield Buffer.from(units, "utf8").toString("latin1");
      // The low byte of each unit.
      yield Buffer.from(units, "latin1").toString("latin1");
    }
  }
};

/** A server took the bytes for Latin-1 and wrote them as UTF-8. */
const mojibake: Reading = function* (text) {
  if (!/[\xc2\xc3]/.test(text)) return;
  yield text.replace(/([\xc2\xc3])([\x80-\xbf])/g, (_, lead: string, trail: string) =>
    String.fromCharCode(((lead.charCodeAt(0) & 3) << 6) | (trail.charCodeAt(0) & 0x3f)),
  );
};

/** Lines joined again: base64 in a mail, data fields of an event stream. */
const unwrapped: Reading = function* (text) {
  yield text.replace(/(?:\r?\n|(?:\\r)?\\n)/g, "");
  yield text.replace(/\r?\n(?:data: ?|[ \t]+)?/g, "");
};

const READINGS: ReadonlyArray<readonly [name: string, read: Reading]> = [
  ["percent", percent],
  ["json", json],
  ["html", html],
  ["hex", hex],
  ["base64", base64],
  ["utf-16", utf16],
  ["mojibake", mojibake],
  ["unwrapped", unwrapped],
];

/** What these make of a text is read no further, unless `deep`: they turn any text into many. */
const LAST: ReadonlySet<string> = new Set(["hex", "base64", "utf-16"]);
