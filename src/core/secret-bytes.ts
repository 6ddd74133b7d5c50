/**
 * What the bytes of a secret may be, in one place for the vault and for every source. Nothing here may put the bytes,
 * or part of them, into a message.
 */

/** 64 KiB: more than any credential, little enough to hold by the hundred. */
export const MAX_SECRET_BYTES = 64 * 1024;

const LF = 0x0a;
const CR = 0x0d;
const FIRST_PRINTABLE = 0x20;
const DEL = 0x7f;

/** Any C0 control or DEL: never part of a field value (RFC 9110 section 5.5), and what header splitting needs. */
export const holdsControl = (bytes: Uint8Array): boolean => {
  for (const byte of bytes) if (byte < FIRST_PRINTABLE || byte === DEL) return true;
  return false;
};

/** Without one `\n` or `\r\n` at the end, which editors and `echo` add. */
export const cutTrailingNewline = (bytes: Buffer): Buffer => {
  if (bytes.at(-1) !== LF) return bytes;
  return bytes.subarray(0, bytes.at(-2) === CR ? -2 : -1);
};
