/**
 * A secret as an upstream might write it: every must-tier spelling of the guarantees' ruling 4, and the should-tier
 * ones. Written a third way, neither the scrubber's nor the leak matcher's: numbers and bits, and what the platform
 * itself makes of a URL or a query. Each is a part of a longer text, as it would be on the wire.
 */

export interface Spelling {
  readonly name: string;
  /** What would stand in a body, surroundings included. */
  readonly bytes: Buffer;
  /** Only bytes that may stand in a header, a JSON string and an HTML attribute. */
  readonly printable: boolean;
}

type Text = readonly [reading: string, points: readonly number[]];

/** The texts that a server may see in the bytes of a credential: UTF-8, and Latin-1, as many read headers. */
const textsOf = (secret: Buffer): readonly Text[] => {
  const latin1: Text = ["Latin-1", [...secret]];
  if (secret.every((byte) => byte < 0x80)) return [["", [...secret]]];
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(secret);
    return [["", Array.from(text, (c) => c.codePointAt(0) ?? 0)], latin1];
  } catch {
    return [latin1];
  }
};

export const mustSpellings = (secret: Buffer): readonly Spelling[] => {
  const spellings: Spelling[] = [];
  const add = (name: string, bytes: Buffer | string): void => {
    const buffer = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    const printable = buffer.every((byte) => byte >= 0x20 && byte !== 0x7f);
    spellings.push({ name, bytes: buffer, printable });
  };

  add("literal", secret);
  // Aligned by what stands before; what stands behind fills up the last group or does not.
  for (const before of ["", "a", "us"]) {
    for (const behind of ["", "x", "yz"]) {
      const whole = Buffer.concat([Buffer.from(before), secret, Buffer.from(behind)]);
      add(`base64 at ${before.length}, ${behind.length} behind`, radix64(whole, "+/", true));
      add(`base64url at ${before.length}, ${behind.length} behind`, radix64(whole, "-_", false));
    }
  }
  add("Basic blob", `Basic ${radix64(Buffer.concat([Buffer.from("user:"), secret]), "+/", true)}`);
  add(
    "hex, lower",
    map(secret, (byte) => digits(byte, 2)),
  );
  add(
    "hex, upper",
    map(secret, (byte) => digits(byte, 2).toUpperCase()),
  );
  add(
    "percent, every byte, upper",
    map(secret, (byte) => `%${digits(byte, 2).toUpperCase()}`),
  );
  add(
    "percent, every byte, lower",
    map(secret, (byte) => `%${digits(byte, 2)}`),
  );

  for (const [reading, points] of textsOf(secret)) {
    const suffix = reading === "" ? "" : ` (read as ${reading})`;
    const text = String.fromCodePoint(...points);
    const units = Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
    const utf8 = Buffer.from(text, "utf8");
    if (reading !== "") add(`UTF-8${suffix}`, utf8);
    add(`percent as encodeURIComponent${suffix}`, componentOf(utf8));
    const inner = jsonOf(points);
    add(`JSON string${suffix}`, inner);
    add(`JSON in JSON${suffix}`, jsonOf(Array.from(inner.toString("utf8"), (c) => c.codePointAt(0) ?? 0)));
    add(
      `JSON, every unit, lower${suffix}`,
      map(units, (unit) => `\\u${digits(unit, 4)}`),
    );
    add(
      `JSON, every unit, upper${suffix}`,
      map(units, (unit) => `\\u${digits(unit, 4).toUpperCase()}`),
    );
    add(`HTML, minimal${suffix}`, Buffer.concat(points.map(htmlOf)));
    add(
      `HTML, every character, decimal${suffix}`,
      map(points, (point) => `&#${point};`),
    );
    add(
      `HTML, every character, hex${suffix}`,
      map(points, (point) => `&#x${digits(point, 1)};`),
    );
    add(
      `HTML, every character, upper hex${suffix}`,
      map(points, (point) => `&#x${digits(point, 1).toUpperCase()};`),
    );
    add(`UTF-16 LE${suffix}`, Buffer.from(units.flatMap((unit) => [unit & 0xff, unit >> 8])));
    add(`UTF-16 BE${suffix}`, Buffer.from(units.flatMap((unit) => [unit >> 8, unit & 0xff])));
  }
  return spellings;
};

/** The four kinds of the should tier. `random` gives numbers in [0, 1). */
export const shouldSpellings = (secret: Buffer, random: () => number): Readonly<Record<string, Buffer>> => {
  const [[, points] = ["", []]] = textsOf(secret);
  const coin = (): boolean => random() < 0.5;
  const hex2 = (byte: number): string => (coin() ? digits(byte, 2) : digits(byte, 2).toUpperCase());
  const char = (point: number): string => Buffer.from(String.fromCodePoint(point)).toString("latin1");
  const escaped = map(points, (point) => `\\u${digits(point, 4)}`);
  const whole = Buffer.concat([
    Buffer.from("a".repeat(Math.floor(random() * 80))),
    secret,
    Buffer.from("zz".repeat(40)),
  ]);
  const text = secret.toString("latin1");
  return {
    "percent, mixed": latin1(map(secret, (byte) => (coin() || !isWord(byte) ? `%${hex2(byte)}` : ch(byte)))),
    "JSON, mixed": latin1(
      map(points, (point) =>
        point > 0xffff
          ? char(point)
          : coin()
            ? `\\u${hex2(point >> 8)}${hex2(point & 0xff)}`
            : jsonOf([point]).toString("latin1"),
      ),
    ),
    "HTML, mixed": latin1(
      map(points, (point) =>
        coin() ? `&#x${digits(point, 1)};` : coin() ? `&#${point};` : htmlOf(point).toString("latin1"),
      ),
    ),
    "JSON, one escape": latin1(
      map(points, (point, i) =>
        i === points.length >> 1 ? escaped.slice(i * 6, i * 6 + 6) : jsonOf([point]).toString("latin1"),
      ),
    ),
    "base64, wrapped at 76, CRLF": latin1(radix64(whole, "+/", true).replace(/.{76}/g, "$&\r\n")),
    "base64, wrapped at 64, LF": latin1(radix64(whole, "+/", true).replace(/.{64}/g, "$&\n")),
    "base64, wrapped at 76, in JSON": latin1(radix64(whole, "+/", true).replace(/.{76}/g, "$&\\n")),
    "double percent": latin1(componentOf(componentOf(secret))),
    "double percent, every byte": latin1(map(secret, (byte) => `%25${hex2(byte)}`)),
    "lower case": latin1(text.toLowerCase()),
    "upper case": latin1(text.toUpperCase()),
  };
};

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const ch = (byte: number): string => String.fromCharCode(byte);
const isWord = (byte: number): boolean => /[A-Za-z0-9_.~-]/.test(ch(byte));
const digits = (value: number, least: number): string => value.toString(16).padStart(least, "0");
const map = (numbers: Iterable<number>, spell: (value: number, index: number) => string): string =>
  Array.from(numbers, spell).join("");

/** RFC 4648, as one long number written in base 64. */
const radix64 = (bytes: Buffer, last: string, pad: boolean): string => {
  const alphabet = `ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789${last}`;
  const bits = map(bytes, (byte) => byte.toString(2).padStart(8, "0"));
  let text = "";
  for (let at = 0; at < bits.length; at += 6) {
    text += alphabet[Number.parseInt(bits.slice(at, at + 6).padEnd(6, "0"), 2)] ?? "";
  }
  return pad ? text.padEnd(Math.ceil(text.length / 4) * 4, "=") : text;
};

/** ECMA-262 encodeURIComponent, by its list of what stays. */
const componentOf = (utf8: Buffer | string): string =>
  map(Buffer.from(utf8), (byte) =>
    /[A-Za-z0-9\-_.!~*'()]/.test(ch(byte)) && byte < 0x80 ? ch(byte) : `%${digits(byte, 2).toUpperCase()}`,
  );

/** What a JSON string holds between its quotes; all else is UTF-8. */
const jsonOf = (points: readonly number[]): Buffer =>
  Buffer.concat(
    points.map((point) => {
      if (point === 0x22 || point === 0x5c) return Buffer.from([0x5c, point]);
      return Buffer.from(String.fromCodePoint(point));
    }),
  );

const htmlOf = (point: number): Buffer => {
  const named = new Map([
    [0x26, "&amp;"],
    [0x3c, "&lt;"],
    [0x3e, "&gt;"],
    [0x22, "&quot;"],
    [0x27, "&#39;"],
  ]).get(point);
  return Buffer.from(named ?? String.fromCodePoint(point));
};
