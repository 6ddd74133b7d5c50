/**
 * The path of a request in its one canonical spelling. Policy compares these bytes and the wire carries these bytes, so
 * that no second parser behind us sees another path (threat B9). What could be read in two ways is refused, never
 * repaired: dot segments, `//`, and `/`, `\`, controls or dots hidden in escapes, however deep.
 */

/** Whole segments of characters that need no escape and mean nothing special: nearly every real path. */
const PLAIN = /^(?:\/[A-Za-z0-9\-._~!$&'()*+,=:@]+)*\/?$/;
const UNRESERVED = /^[A-Za-z0-9\-._~]$/;
/** RFC 3986 section 3.3: pchar without escapes. */
const PCHAR = /^[A-Za-z0-9\-._~!$&'()*+,;=:@]$/;
const PRINTABLE = /^[\x21-\x7e]$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is looked for
const SEPARATOR_OR_CONTROL = /[/\\\x00-\x1f\x7f]/;
/** UTF-8 that spells an ASCII or shorter character with more bytes than needed (RFC 3629 section 3): `%C0%AF` is `/`. */
const OVERLONG = /[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]/;

/**
 * Canonical path of a raw one (without query), or undefined when it must be refused with 400: escaped unreserved bytes
 * decoded, other escapes in upper case, printable characters that no URI may hold escaped (RFC 3986 section 6.2.2).
 * A plain path comes back as the same string.
 */
export const canonicalPath = (raw: string): string | undefined => {
  if (raw.charCodeAt(0) !== 0x2f) return undefined;
  if (PLAIN.test(raw) && !raw.includes("/.")) return raw;
  const segments = raw.split("/");
  const last = segments.length - 1;
  let path = "";
  for (let index = 1; index <= last; index++) {
    const raw = segments[index] ?? "";
    if (raw === "") {
      // Only a trailing slash leaves an empty segment that is not `//`.
      if (index !== last) return undefined;
      path += "/";
      continue;
    }
    const segment = canonicalSegment(raw);
    if (segment === undefined) return undefined;
    path += `/${segment}`;
  }
  return path;
};

/**
 * The path as the most generous server would read it: every escape decoded, escapes of escapes too, and `;parameters`
 * cut off. Takes a canonical path; the same string where there is nothing to read differently. Bytes appear as Latin-1
 * characters. For comparing only, never for the wire.
 */
export const generousPath = (canonical: string): string =>
  canonical.includes("%") || canonical.includes(";") ? canonical.split("/").map(generousSegment).join("/") : canonical;

const canonicalSegment = (raw: string): string | undefined => {
  let segment = "";
  for (let index = 0; index < raw.length; index++) {
    const char = raw.charAt(index);
    if (char === "%") {
      const digits = raw.slice(index + 1, index + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return undefined;
      const byte = String.fromCharCode(Number.parseInt(digits, 16));
      segment += UNRESERVED.test(byte) ? byte : `%${digits.toUpperCase()}`;
      index += 2;
    } else if (PCHAR.test(char)) segment += char;
    else if (char !== "\\" && char !== "?" && char !== "#" && PRINTABLE.test(char)) segment += escaped(char);
    else return undefined;
  }
  // Two rounds of decoding undo an escape of an escape; nothing honest is wrapped three times.
  if (segment.includes("%2525")) return undefined;
  const decoded = decode(decode(segment));
  if (SEPARATOR_OR_CONTROL.test(decoded) || OVERLONG.test(decoded)) return undefined;
  // `/..;/` and `/;x/`: servers that cut parameters see a dot segment or an empty one.
  const name = cutParameters(decoded);
  return name === "" || name === "." || name === ".." ? undefined : segment;
};

const generousSegment = (segment: string): string => cutParameters(decode(decode(segment)));

const cutParameters = (decoded: string): string => {
  const semicolon = decoded.indexOf(";");
  return semicolon === -1 ? decoded : decoded.slice(0, semicolon);
};

const decode = (segment: string): string =>
  segment.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));

const escaped = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
