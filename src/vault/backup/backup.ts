/**
 * What of a store is worth keeping as one text: sealed rows of secrets, and of the agents, operators and sidecars that may
 * use them; and what tells that all of them are there. Its first line says what it
 * is; one line for each row follows; then a sealed manifest, by which nobody without the key can drop, add or exchange a
 * row; then a checksum of all of it, which tells damage from another key. Must never hold an open value.
 *
 * Tokens are not in it, nor what belongs to them: keys that sign them, placeholders, approvals. They live a day at most,
 * and bringing one back could undo its revocation.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import type { EpochMs } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { AGENT, AGENT_KEY, AGENT_NAME, OPERATOR } from "../agents/rows.ts";
import { SIDECAR } from "../agents/sidecar-rows.ts";
import { type Barrier, openJson, type RowName, sealJson } from "../barrier/barrier.ts";
import { isSecretRow, META, secretRowName, VALUE } from "../barrier/rows.ts";
import type { Row } from "../storage/storage.ts";

export interface Backup {
  readonly createdAt: EpochMs;
  /** Of the store, when it was read. */
  readonly generation: number;
  /** How many secrets, whatever the number of their versions. */
  readonly secrets: number;
  /** How many agents and operators that are not revoked, or were not then. */
  readonly agents: number;
  /** Sealed, in key order. */
  readonly rows: readonly Row[];
}

/** Hashes of keys and no keys, thumbprints of keys and no keys. */
const IDENTITIES: readonly string[] = [AGENT, AGENT_KEY, AGENT_NAME, OPERATOR, SIDECAR];

/** What the keys of rows begin with that go into one. */
export const BACKED_UP: readonly string[] = [META, VALUE, ...IDENTITIES];

/** More is not read. `bytes` */
export const MAX_BACKUP_BYTES = 256 * 1024 * 1024;

const FORMAT = "sidekey-vault-backup";
/** Of secrets alone, as Sidekey 0.1 writes and reads it. */
const VERSION = 1;
/** With rows of more than secrets. */
const VERSION_OF_SERVERS = 2;
const MANIFEST = "backup:manifest";

const headSchema = z.object({ format: z.literal(FORMAT), v: z.number() });
const rowSchema = z.strictObject({ key: z.string(), sealed: z.string() });
const manifestLineSchema = z.strictObject({ manifest: z.string() });
const sumSchema = z.strictObject({ sha256: z.string() });
const manifestSchema = z.strictObject({
  createdAt: z.number(),
  generation: z.number(),
  rows: z.number(),
  /** SHA-256 of the lines before, hexadecimal. */
  digest: z.string(),
});

/** Every row is opened first: what can't be restored is told now. Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
export const writeBackup = (
  all: readonly Row[],
  barrier: Barrier,
  { createdAt, generation }: Pick<Backup, "createdAt" | "generation">,
): string => {
  const rows = all.filter(({ key }) => rowNameOf(key, VERSION_OF_SERVERS) !== undefined);
  const v = rows.every(({ key }) => isSecretRow(key)) ? VERSION : VERSION_OF_SERVERS;
  const lines = [JSON.stringify({ format: FORMAT, v })];
  for (const { key, value } of rows) {
    openRow(barrier, { key, value, v }, "VAULT_STORE_DAMAGED");
    // With one key throughout, also while the store is on its way from one to another.
    const sealed = barrier.isCurrent(value) ? value : barrier.reseal(key, value);
    lines.push(JSON.stringify({ key, sealed: sealed.toString("latin1") }));
  }
  const manifest = { createdAt, generation, rows: rows.length, digest: digestOf(lines) };
  lines.push(JSON.stringify({ manifest: sealJson(barrier, MANIFEST, manifest).toString("latin1") }));
  lines.push(JSON.stringify({ sha256: digestOf(lines) }));
  return `${lines.join("\n")}\n`;
};

/** Its lines but for the checksum, which is right: all that can be said without a key. Errors: VAULT_BAD_BACKUP. */
export const backupLines = (text: string): readonly string[] => {
  if (!isBackup(text)) throw bad("It is no backup of a vault.");
  if (!text.endsWith("\n")) throw bad("It is cut short.");
  const lines = text.slice(0, -1).split("\n");
  const head = parseLine(headSchema, lines[0]);
  if (head?.v !== VERSION && head?.v !== VERSION_OF_SERVERS) throw bad("It was made by a newer version of sidekey.");
  const sum = parseLine(sumSchema, lines.pop());
  if (sum === undefined) throw bad("It is cut short.");
  if (sum.sha256 !== digestOf(lines)) throw bad("It is damaged: its checksum is another.");
  return lines;
};

/** Checked to the last row. Errors: VAULT_BAD_BACKUP, VAULT_KEY_WRONG (it was made with another key). */
export const readBackup = (all: readonly string[], barrier: Barrier): Backup => {
  const lines = all.slice(0, -1);
  const v = parseLine(headSchema, lines[0])?.v ?? VERSION;
  const manifest = openManifest(barrier, all.at(-1));
  if (manifest.digest !== digestOf(lines) || manifest.rows !== lines.length - 1) {
    throw bad("Its rows are not those that it was made with.");
  }
  const rows = lines.slice(1).map((line) => {
    const row = parseLine(rowSchema, line);
    if (row === undefined) throw bad("One of its lines is no row.");
    const value = Buffer.from(row.sealed, "latin1");
    openRow(barrier, { key: row.key, value, v }, "VAULT_BAD_BACKUP");
    return { key: row.key, value };
  });
  const { createdAt, generation } = manifest;
  const count = (prefix: string): number => rows.filter(({ key }) => key.startsWith(prefix)).length;
  // A name leads to one that is not revoked.
  return { createdAt, generation, secrets: count(META), agents: count(AGENT_NAME), rows };
};

/** By its first line alone: whether it means to be one. */
export const isBackup = (text: string): boolean =>
  parseLine(headSchema, text.slice(0, 1024).split("\n", 1)[0]) !== undefined;

const openManifest = (barrier: Barrier, line: string | undefined): z.output<typeof manifestSchema> => {
  const sealed = parseLine(manifestLineSchema, line);
  if (sealed === undefined) throw bad("Its manifest is gone.");
  try {
    return openJson(barrier, MANIFEST, Buffer.from(sealed.manifest, "latin1"), manifestSchema);
  } catch (error) {
    if (!isSidekeyError(error) || error.code !== "VAULT_KEY_WRONG") throw bad("Its manifest is none.");
    throw new SidekeyError("VAULT_KEY_WRONG", {
      detail: "The backup was made with another key.",
      hint: "Put the key of that time into the key file, below the present one if there is one, and try again.",
    });
  }
};

const openRow = (
  barrier: Barrier,
  { key, value, v }: Row & { readonly v: number },
  code: "VAULT_BAD_BACKUP" | "VAULT_STORE_DAMAGED",
): void => {
  const name = rowNameOf(key, v);
  if (name === undefined) throw new SidekeyError(code, { detail: "It has a row that belongs to no secret." });
  barrier.open(name, value).fill(0);
};

/** What a row of a backup is sealed as; undefined for one that has no place in it. */
const rowNameOf = (key: string, v: number): RowName | undefined => {
  if (v !== VERSION && IDENTITIES.some((prefix) => key.startsWith(prefix))) return { path: key, version: 0 };
  return secretRowName(key);
};

const digestOf = (lines: readonly string[]): string => createHash("sha256").update(lines.join("\n")).digest("hex");

/** Undefined when it is something else; what a parser says of it quotes it, and must not travel. */
const parseLine = <Schema extends z.ZodType>(
  schema: Schema,
  line: string | undefined,
): z.output<Schema> | undefined => {
  try {
    return schema.safeParse(JSON.parse(line ?? "")).data;
  } catch {
    return undefined;
  }
};

const bad = (detail: string): SidekeyError => new SidekeyError("VAULT_BAD_BACKUP", { detail });
