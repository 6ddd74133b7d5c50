/**
 * The tables of a store in PostgreSQL, and the statements over them. Made by the first that opens a database without them,
 * under a lock that its other processes wait for. Tables are looked for along the search_path, so that one database can hold
 * several stores in schemas of their own.
 */
import { SidekeyError } from "../../../core/errors.ts";
import type { Log } from "../../../core/log.ts";
import { type Found, inKeyOrder, type Wanted } from "../restart.ts";
import type { Row } from "../storage.ts";
import type { Database, Query, Statement } from "./connection.ts";
import { busy } from "./faults.ts";

/** Of the tables below. */
export const FORMAT = 1;
/** For an advisory lock while tables are made; a number of ours. */
const MAKING = 7_270_011;
const MIN_VERSION = 130_000;

const TABLES = `
  CREATE TABLE IF NOT EXISTS sidekey_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), format integer NOT NULL, generation bigint NOT NULL);
  CREATE TABLE IF NOT EXISTS sidekey_rows (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL);
  CREATE TABLE IF NOT EXISTS sidekey_proofs (id bytea PRIMARY KEY, expires_at bigint NOT NULL);
  CREATE INDEX IF NOT EXISTS sidekey_proofs_expiry ON sidekey_proofs (expires_at);
  INSERT INTO sidekey_state (format, generation) VALUES (${FORMAT}, 0) ON CONFLICT DO NOTHING`;

/** Makes the tables where there are none. Resolves to the channel of the store. Errors: VAULT_STORE_BUSY, VAULT_STORE_DAMAGED. */
export const prepareDatabase = async (database: Database, log: Log): Promise<string> => {
  const [server] = await database.read({
    text: `SELECT to_regclass('sidekey_state') IS NOT NULL AS there, current_setting('server_encoding') AS encoding,
      current_setting('server_version_num')::integer AS version, current_setting('fsync') AS fsync`,
  });
  if (Number(server?.["version"]) < MIN_VERSION) throw busy("PostgreSQL is older than 13.", "Use a newer server.");
  if (server?.["encoding"] !== "UTF8") {
    throw busy(
      "The database's encoding is not UTF8.",
      "Make it with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
    );
  }
  if (server["fsync"] !== "on") log.warn("the database runs with fsync off: a power loss may take writes with it");
  if (server["there"] !== true) {
    await database.transact("BEGIN", async (query) => {
      await query({ text: `SELECT pg_advisory_xact_lock(${MAKING})` });
      await query({ text: TABLES });
      return { commit: true, value: undefined };
    });
  }
  const [state] = await database.read({
    text: "SELECT format, 'sidekey_state'::regclass::oid AS id FROM sidekey_state",
  });
  if (state === undefined) throw stateGone();
  if (state["format"] !== FORMAT) throw unknownFormat();
  return `sidekey_${Number(state["id"])}`;
};

/** `suffix`: letters, digits, `_`. Proofs that were seen stay seen. */
export const renameTables = (database: Database, suffix: string): Promise<void> =>
  database.transact("BEGIN", async (query) => {
    for (const table of ["sidekey_state", "sidekey_rows"]) {
      await query({ text: `ALTER TABLE IF EXISTS ${table} RENAME TO ${table}_${suffix}` });
    }
    return { commit: true, value: undefined };
  });

export const BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/** Its lock is held to the end of the transaction: writers are one after the other, whatever process they are in. */
export const lockState = async (query: Query): Promise<number> => {
  // In a statement of its own: what is read after it sees the commit that it waited for.
  const [state] = await query({
    name: "sidekey_lock",
    text: "SELECT generation, format FROM sidekey_state FOR UPDATE",
  });
  if (state === undefined) throw stateGone();
  // A newer version may have come to the database while this one runs.
  if (state["format"] !== FORMAT) throw unknownFormat();
  return Number(state["generation"]);
};

/** `part` 0 is the keys; then the ranges, from 1. Without a row, the generation alone. */
const FETCH = `
  SELECT s.generation, r.part, r.key, r.value FROM sidekey_state s LEFT JOIN (
    SELECT 0::bigint AS part, key, value FROM sidekey_rows WHERE key = ANY ($1::text[])
    UNION ALL
    SELECT asked.part, found.key, found.value
    FROM unnest($2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS asked (low, high, most, part)
    CROSS JOIN LATERAL (
      SELECT key, value FROM sidekey_rows
      WHERE key >= asked.low COLLATE "C" AND key < asked.high COLLATE "C" ORDER BY key LIMIT asked.most
    ) AS found
  ) AS r ON true`;

/** As `FETCH`, for ranges that go backwards or pass some over. */
const FETCH_BACK = `
  SELECT s.generation, r.part, r.key, r.value FROM sidekey_state s LEFT JOIN (
    SELECT 0::bigint AS part, key, value FROM sidekey_rows WHERE key = ANY ($1::text[])
    UNION ALL
    SELECT asked.part, found.key, found.value
    FROM unnest($2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::bigint[])
      WITH ORDINALITY AS asked (low, high, most, back, skip, part)
    CROSS JOIN LATERAL (
      (SELECT key, value FROM sidekey_rows
       WHERE NOT asked.back AND key >= asked.low COLLATE "C" AND key < asked.high COLLATE "C"
       ORDER BY key LIMIT asked.most OFFSET asked.skip)
      UNION ALL
      (SELECT key, value FROM sidekey_rows
       WHERE asked.back AND key >= asked.low COLLATE "C" AND key < asked.high COLLATE "C"
       ORDER BY key DESC LIMIT asked.most OFFSET asked.skip)
    ) AS found
  ) AS r ON true`;

/** Behind every key that begins with a prefix: the last character there is. */
const LAST = "\u{10ffff}";
const ALL = Number.MAX_SAFE_INTEGER;

/** One statement, so one snapshot. */
export const fetchStatement = ({ keys, ranges }: Wanted): Statement => {
  const values = [
    keys,
    ranges.map(({ prefix }) => prefix),
    ranges.map(({ prefix }) => prefix + LAST),
    ranges.map(({ limit }) => Math.min(limit, ALL)),
  ];
  const goesOnlyForward = ranges.every(({ reverse, offset }) => reverse === undefined && offset === undefined);
  if (goesOnlyForward) return { name: "sidekey_fetch", text: FETCH, values };
  const ways = [ranges.map(({ reverse = false }) => reverse), ranges.map(({ offset = 0 }) => offset)];
  return { name: "sidekey_fetch_back", text: FETCH_BACK, values: [...values, ...ways] };
};

export const foundIn = (asked: Wanted, result: Awaited<ReturnType<Query>>): Found => {
  const [first] = result;
  if (first === undefined) throw stateGone();
  const parts: Row[][] = Array.from({ length: asked.ranges.length + 1 }, () => []);
  for (const { part, key, value } of result) {
    if (typeof key === "string" && Buffer.isBuffer(value)) parts[Number(part)]?.push({ key, value });
  }
  const [rows = [], ...ranges] = parts;
  return { generation: Number(first["generation"]), rows, ranges: ranges.map(inKeyOrder) };
};

/** Rows of one statement, and `bytes` of it. */
const MAX_ROWS = 2000;
const MAX_BYTES = 8 * 1024 * 1024;

/** Writes the changes (`null`: gone), and tells every process that listens. */
export const applyChanges = async (
  query: Query,
  changes: ReadonlyMap<string, Buffer | null>,
  { generation, channel }: { readonly generation: number; readonly channel: string },
): Promise<void> => {
  const puts = [...changes].flatMap(([key, value]) => (value === null ? [] : [{ key, value }]));
  const gone = [...changes].flatMap(([key, value]) => (value === null ? [key] : []));
  const chunks = chunked(puts);
  const last = chunks.pop() ?? [];
  for (const chunk of chunks) await query({ name: "sidekey_put", text: PUT, values: columnsOf(chunk) });
  await query({
    name: "sidekey_apply",
    text: APPLY,
    values: [...columnsOf(last), gone, String(generation), channel],
  });
};

const PUT = `
  INSERT INTO sidekey_rows (key, value) SELECT * FROM unnest($1::text[], $2::bytea[])
  ON CONFLICT (key) DO UPDATE SET value = excluded.value`;

const APPLY = `
  WITH put AS (${PUT}),
  gone AS (DELETE FROM sidekey_rows WHERE key = ANY ($3::text[])),
  counted AS (UPDATE sidekey_state SET generation = $4::text::bigint)
  SELECT pg_notify($5::text, $4::text)`;

const columnsOf = (rows: readonly Row[]): [readonly string[], readonly Buffer[]] => [
  rows.map(({ key }) => key),
  rows.map(({ value }) => value),
];

const chunked = (rows: readonly Row[]): Row[][] => {
  const chunks: Row[][] = [];
  let bytes = 0;
  for (const row of rows) {
    const current = chunks.at(-1);
    bytes += row.value.length;
    if (current === undefined || current.length >= MAX_ROWS || bytes > MAX_BYTES) {
      chunks.push([row]);
      bytes = row.value.length;
    } else current.push(row);
  }
  return chunks;
};

const stateGone = (): SidekeyError =>
  new SidekeyError("VAULT_STORE_DAMAGED", { detail: "Its table sidekey_state has lost its row." });

const unknownFormat = (): SidekeyError =>
  new SidekeyError("VAULT_STORE_DAMAGED", {
    detail: "Its tables are of a kind that this version does not know.",
    hint: "Use the version of Sidekey that made them, or a newer one.",
  });
