/**
 * What a placeholder looks like: the provider's public prefix, a mark that a sidecar knows, and letters and digits that
 * nobody can guess, about as long as the key it stands for. It holds nothing of the key but a prefix from this table, and
 * only characters that JSON, URLs, headers and cookies leave alone.
 */
import { createHmac } from "node:crypto";
import type { SecretValue } from "../../core/secret-value.ts";

export const MARK = "SKP";
/** Names the token: who ends it finds its placeholders. 47 bits. */
const TOKEN_CHARACTERS = 8;
/** Names token and path: 142 bits. */
const OWN_CHARACTERS = 24;
const MAX_CHARACTERS = 200;

/**
 * How keys of known providers begin, as their documentation says; the longer of two that fit counts. Letters, digits, `-`
 * and `_` alone: another character would end a placeholder where a sidecar looks for it.
 */
const PUBLIC_PREFIXES: readonly string[] = [
  "sk-proj-",
  "sk-svcacct-",
  "sk-admin-",
  "sk-ant-api03-",
  "sk-ant-",
  "sk-or-v1-",
  "sk-",
  "sk_live_",
  "sk_test_",
  "rk_live_",
  "rk_test_",
  "whsec_",
  "ghp_",
  "gho_",
  "ghs_",
  "ghu_",
  "github_pat_",
  "glpat-",
  "npm_",
  "pypi-",
  "hf_",
  "gsk_",
  "xai-",
  "r8_",
  "pplx-",
  "tvly-",
  "fc-",
  "figd_",
  "lin_api_",
  "ntn_",
  "secret_",
  "pcsk_",
  "sntrys_",
  "sntryu_",
  "xoxb-",
  "xoxp-",
  "xapp-",
  "re_",
  "AIza",
];

export interface PlaceholderOf {
  readonly tokenId: string;
  readonly path: string;
}

/** What tells it from all others, the same for the same token and path: 8 characters for the token, 24 for both. */
export const placeholderCore = (key: Buffer, { tokenId, path }: PlaceholderOf): string =>
  tokenMark(key, tokenId) + characters(key, ["path", tokenId, path], OWN_CHARACTERS);

/** What the cores of a token begin with. */
export const tokenMark = (key: Buffer, tokenId: string): string =>
  characters(key, ["token", tokenId], TOKEN_CHARACTERS);

/** A core in the shape of `value`. */
export const placeholderText = (key: Buffer, core: string, value: SecretValue): string => {
  const prefix = value.lend(publicPrefix);
  // The length of what has no known shape is its own affair.
  const wanted = prefix === "" ? 0 : Math.min(value.length, MAX_CHARACTERS);
  const start = `${prefix}${MARK}${core}`;
  return start + characters(key, ["rest", core], Math.max(0, wanted - start.length));
};

const SHAPE = new RegExp(
  `^[A-Za-z0-9_-]{0,32}?${MARK}([0-9A-Za-z]{${TOKEN_CHARACTERS + OWN_CHARACTERS}})[0-9A-Za-z]*$`,
);

/** Of what may be a placeholder, and of nothing else. */
export const coreIn = (text: string): string | undefined =>
  text.length <= MAX_CHARACTERS ? SHAPE.exec(text)?.[1] : undefined;

export const tokenMarkOf = (core: string): string => core.slice(0, TOKEN_CHARACTERS);

/** One from the table, so that a key that begins otherwise gives nothing away. */
const publicPrefix = (bytes: Buffer): string => {
  const start = bytes.toString("latin1", 0, 32);
  let longest = "";
  for (const prefix of PUBLIC_PREFIXES) {
    if (prefix.length > longest.length && start.startsWith(prefix) && bytes.length > prefix.length) longest = prefix;
  }
  return longest;
};

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** Bytes from here on would make the first characters likelier than the others. */
const FAIR = 256 - (256 % ALPHABET.length);

/** HMAC-SHA-256 in counter mode. The parts are JSON, so that none can run into the next. */
const characters = (key: Buffer, parts: readonly string[], count: number): string => {
  let text = "";
  for (let block = 0; text.length < count; block += 1) {
    const bytes = createHmac("sha256", key)
      .update(JSON.stringify([...parts, block]))
      .digest();
    for (const byte of bytes) if (byte < FAIR) text += ALPHABET.charAt(byte % ALPHABET.length);
  }
  return text.slice(0, count);
};
