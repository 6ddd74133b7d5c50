/** Percent-encoding of bytes (RFC 3986 section 2.1), and the most generous reading of it. Pure. */

/** RFC 3986 section 2.3, beside letters and digits: these mean the same with and without an escape. */
export const UNRESERVED_MARKS = "-_.~";

/** `%2F` */
export const percentByte = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;

/** Letters, digits and the ASCII characters of `keeps` as they are, every other byte as an escape. */
export const percentEncode = (bytes: Uint8Array, keeps: string): string => {
  let text = "";
  for (const byte of bytes) {
    const char = String.fromCharCode(byte);
    text += isAlphanumeric(byte) || (byte < 0x80 && keeps.includes(char)) ? char : percentByte(byte);
  }
  return text;
};

/** Escapes decoded, also the `%u0061` of some old servers; one char per byte. What is no escape stays. */
export const percentDecode = (text: string): string =>
  text.includes("%")
    ? text.replace(/%(?:u([0-9a-f]{4})|([0-9a-f]{2}))/gi, (_, unit?: string, byte?: string) =>
        String.fromCharCode(Number.parseInt(unit ?? byte ?? "", 16)),
      )
    : text;

const isAlphanumeric = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a);
