/**
 * `audit.head`: the sequence number and hash of the last record that is surely on the disk. It anchors the chain: a log
 * that ends before its head was cut. It needs no signature: forging it can only raise a false alarm.
 */
import { type ChainHead, GENESIS } from "./chain.ts";
import { type AuditFs, isAbsent, replaceWhole } from "./file-access.ts";

/** `audit.jsonl` has its head in `audit.head`, beside it. */
export const headPathOf = (logPath: string): string =>
  logPath.endsWith(".jsonl") ? logPath.replace(/\.jsonl$/, ".head") : `${logPath}.head`;

const HASH = /^[A-Za-z0-9_-]{43}$/;

const isHead = (value: unknown): value is ChainHead =>
  typeof value === "object" &&
  value !== null &&
  "seq" in value &&
  Number.isSafeInteger(value.seq) &&
  Number(value.seq) >= 0 &&
  "hash" in value &&
  typeof value.hash === "string" &&
  HASH.test(value.hash);

/** `GENESIS` when there is no head; undefined when what is there is not a head. Other errors of the file are thrown. */
export const readHead = (fs: AuditFs, path: string): ChainHead | undefined => {
  let text: string;
  try {
    text = fs.readFileSync(path, "utf8");
  } catch (error) {
    if (isAbsent(error)) return GENESIS;
    throw error;
  }
  try {
    const value: unknown = JSON.parse(text);
    return isHead(value) ? { seq: value.seq, hash: value.hash } : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
};

/** In one step, so that a reader sees the old head or the new one. */
export const writeHead = (fs: AuditFs, path: string, { seq, hash }: ChainHead): void =>
  replaceWhole(fs, path, `${JSON.stringify({ seq, hash })}\n`);
