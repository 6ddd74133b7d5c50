/** The bytes that HTTP/1.1 is written in, as tables: a look at one costs less than a comparison with many. */

export const HTAB = 9;
export const LF = 10;
export const CR = 13;
export const SP = 32;
export const COLON = 58;
export const SEMICOLON = 59;
export const ZERO = 48;

/** 1 = part of a token (RFC 9110 section 5.6.2). */
export const TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  TOKEN[char.charCodeAt(0)] = 1;
}

/** 1 = may stand in a field value or a reason phrase (RFC 9110 section 5.5). */
export const TEXT = new Uint8Array(256)
  .fill(1, SP)
  .fill(0, 127, 128)
  .fill(1, HTAB, HTAB + 1);

/** Value of a hexadecimal digit; 255 = none. */
export const HEX = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  const text = digit.toString(16);
  HEX[text.charCodeAt(0)] = digit;
  HEX[text.toUpperCase().charCodeAt(0)] = digit;
}
