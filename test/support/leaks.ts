/**
 * Looks for a secret in bytes that an agent received, by decoding them in every way it might. It shares nothing with the
 * scrubber, which encodes the secret and searches for that: a form that one forgets the other finds.
 */

export interface LeakOptions {
  /** Any part of the secret this long is a leak. Default: the whole secret. */
  readonly fragment?: number;
}

/** Names of the decodings in which the secret, or a fragment of it, shows; empty when nothing leaks. */
export const leaksOf = (received: Buffer, secret: Buffer, options: LeakOptions = {}): readonly string[] => {
  const length = Math.min(options.fragment ?? secret.length, secret.length);
  const fragments: Buffer[] = [];
  for (let at = 0; at + length <= secret.length; at++) fragments.push(secret.subarray(at, at + length));
  const found = new Set<string>();
  for (const [name, bytes] of decodings(received)) {
    if (fragments.some((fragment) => bytes.includes(fragment))) found.add(name);
  }
  return [...found];
};

type Decoding = readonly [name: string, bytes: Buffer];

function* decodings(received: Buffer): Generator<Decoding> {
  const text = received.toString("latin1");
  yield ["literal", received];
  yield ["percent", latin1(percentDecoded(text))];
  yield ["percent, plus as space", latin1(percentDecoded(text.replaceAll("+", " ")))];
  yield ["double percent", latin1(percentDecoded(percentDecoded(text)))];
  const utf8 = received.toString("utf8");
  yield ["json", Buffer.from(jsonDecoded(utf8))];
  yield ["json in json", Buffer.from(jsonDecoded(jsonDecoded(utf8)))];
  yield ["html", Buffer.from(htmlDecoded(utf8))];
  yield ["html in json", Buffer.from(htmlDecoded(jsonDecoded(utf8)))];
  for (const [run] of text.matchAll(/[0-9a-fA-F]{6,}/g)) {
    yield ["hex", Buffer.from(run, "hex")];
    yield ["hex", Buffer.from(run.slice(1), "hex")];
  }
  for (const [run] of text.matchAll(/[A-Za-z0-9+/_-]{4,}/g)) {
    // Node's decoder takes both alphabets; a run may begin anywhere inside a group of four.
    for (let skip = 0; skip < 4; skip++) yield ["base64", Buffer.from(run.slice(skip), "base64")];
  }
  for (let skip = 0; skip < 2; skip++) {
    const even = received.subarray(skip, skip + Math.floor((received.length - skip) / 2) * 2);
    yield ["utf-16le", Buffer.from(even.toString("utf16le"))];
    yield ["utf-16be", Buffer.from(Buffer.from(even).swap16().toString("utf16le"))];
  }
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

const percentDecoded = (text: string): string =>
  text.replace(/%([0-9a-fA-F]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));

const SHORT_ESCAPES: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

const jsonDecoded = (text: string): string =>
  text.replace(/\\(?:u([0-9a-fA-F]{4})|(.))/g, (_, digits: string | undefined, short = "") =>
    digits === undefined ? (SHORT_ESCAPES[short] ?? short) : String.fromCharCode(Number.parseInt(digits, 16)),
  );

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

const htmlDecoded = (text: string): string =>
  text.replace(/&(?:#x([0-9a-f]+)|#([0-9]+)|([a-z]+));/gi, (whole, hex, decimal, name: string | undefined) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const point = hex === undefined ? Number.parseInt(decimal, 10) : Number.parseInt(hex, 16);
    return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
