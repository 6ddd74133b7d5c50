/**
 * Fernet tokens (github.com/fernet/spec, version 0x80) over node:crypto. The MAC is always checked before anything in
 * the token is believed, and base64url is strict: Node's own decoder skips what it does not know.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import type { EpochMs } from "../../core/clock.ts";

/** Key objects, so that nothing that prints an object prints key bytes. */
export interface FernetKey {
  readonly signing: KeyObject;
  readonly encryption: KeyObject;
}

export interface OpenOptions {
  readonly now: EpochMs;
  /** Oldest age that is accepted, `s`; without it age does not count, nor does a date in the future. */
  readonly ttlSeconds?: number;
}

const VERSION = 0x80;
const KEY_BYTES = 32;
const IV_BYTES = 16;
const MAC_BYTES = 32;
const HEAD_BYTES = 1 + 8 + IV_BYTES;
const BLOCK_BYTES = 16;
const SKEW_SECONDS = 60;
const CIPHER = "aes-128-cbc";

/** 32 bytes in base64url, its padding optional; undefined when it is anything else. */
export const parseFernetKey = (text: string): FernetKey | undefined => {
  const bytes = decodeBase64url(text);
  if (bytes?.length !== KEY_BYTES) return undefined;
  return { signing: createSecretKey(bytes.subarray(0, 16)), encryption: createSecretKey(bytes.subarray(16)) };
};

/** A new key as text, with padding, as other implementations want it. */
export const generateFernetKey = (): string => `${randomBytes(KEY_BYTES).toString("base64url")}=`;

/** As `generateFernetKey` gives it. */
export const formatFernetKey = ({ signing, encryption }: FernetKey): string =>
  padBase64url(Buffer.concat([signing.export(), encryption.export()]).toString("base64url"));

/** `iv` is for test vectors only. */
export const sealFernet = (key: FernetKey, message: Uint8Array, now: EpochMs, iv = randomBytes(IV_BYTES)): string => {
  const head = Buffer.alloc(9);
  head.writeUInt8(VERSION);
  head.writeBigUInt64BE(BigInt(Math.floor(now / 1000)), 1);
  const cipher = createCipheriv(CIPHER, key.encryption, iv);
  const body = Buffer.concat([head, iv, cipher.update(message), cipher.final()]);
  return padBase64url(Buffer.concat([body, macOf(key, body)]).toString("base64url"));
};

/** The message, or undefined: not a token, not of this key, too old or too far ahead. */
export const openFernet = (key: FernetKey, token: string, { now, ttlSeconds }: OpenOptions): Buffer | undefined => {
  const bytes = decodeBase64url(token);
  if (bytes === undefined || bytes.length < HEAD_BYTES + BLOCK_BYTES + MAC_BYTES || bytes[0] !== VERSION) {
    return undefined;
  }
  const body = bytes.subarray(0, -MAC_BYTES);
  if ((body.length - HEAD_BYTES) % BLOCK_BYTES !== 0) return undefined;
  if (!timingSafeEqual(macOf(key, body), bytes.subarray(-MAC_BYTES))) return undefined;
  if (ttlSeconds !== undefined) {
    const age = Math.floor(now / 1000) - Number(body.readBigUInt64BE(1));
    if (age > ttlSeconds || age < -SKEW_SECONDS) return undefined;
  }
  const decipher = createDecipheriv(CIPHER, key.encryption, body.subarray(9, HEAD_BYTES));
  try {
    return Buffer.concat([decipher.update(body.subarray(HEAD_BYTES)), decipher.final()]);
  } catch {
    // Wrong padding under a right MAC: made by a broken writer that held the key.
    return undefined;
  }
};

const macOf = (key: FernetKey, body: Uint8Array): Buffer => createHmac("sha256", key.signing).update(body).digest();

const padBase64url = (text: string): string => text.padEnd(Math.ceil(text.length / 4) * 4, "=");

/** Only what encodes back to itself, with the right padding or none. */
const decodeBase64url = (text: string): Buffer | undefined => {
  const bytes = Buffer.from(text, "base64url");
  const bare = bytes.toString("base64url");
  return text === bare || text === padBase64url(bare) ? bytes : undefined;
};
