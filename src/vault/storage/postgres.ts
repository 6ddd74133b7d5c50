/**
 * The store in a PostgreSQL database, which any number of processes on any number of machines may have open: the same
 * transactions as the embedded one has, by callbacks that are restarted (ADR 12). The database is not trusted with
 * anything: rows arrive sealed and are accounted for by who uses this.
 */
import type { Clock } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { ReplayGuard } from "../tokens/replay-guard.ts";
import { connectDatabase, type Query } from "./postgres/connection.ts";
import { busy } from "./postgres/faults.ts";
import { createDatabaseReplayGuard } from "./postgres/proofs.ts";
import { fetchTogether, fetchWith, readRounds } from "./postgres/reading.ts";
import { BEGIN_READ, prepareDatabase, renameTables } from "./postgres/schema.ts";
import { parsePostgresUrl } from "./postgres/url.ts";
import { createWatches } from "./postgres/watching.ts";
import { createWriter } from "./postgres/writing.ts";
import { NOTHING, type Wanted, wantedOf } from "./restart.ts";
import type { ReadTx, Row, Scannable, VaultStorage, Watchable } from "./storage.ts";

export interface PostgresOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Connections at most, beside the one that listens; default 10. */
  readonly poolSize?: number;
}

export interface PostgresStorage extends VaultStorage, Watchable, Scannable {
  /** Proofs that any process of this store has seen. */
  readonly replays: ReplayGuard;
}

/** So often others may write between two rounds of a read before it asks for a snapshot. */
const MAY_MOVE = 2;
/** Rows of a scan that are looked at in one go: some milliseconds. */
const PAGE_ROWS = 500;

/**
 * `url`: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. Makes the tables where there are none.
 * Errors: CONFIG_INVALID, CONFIG_UNREADABLE, VAULT_STORE_BUSY, VAULT_STORE_DAMAGED; none holds a part of the URL.
 */
export const openPostgres = async (
  url: string,
  { clock, log, poolSize }: PostgresOptions,
): Promise<PostgresStorage> => {
  const database = await connectDatabase(parsePostgresUrl(url), { log, ...(poolSize !== undefined && { poolSize }) });
  let channel: string;
  try {
    channel = await prepareDatabase(database, log);
  } catch (error) {
    await database.close();
    throw error;
  }
  const fetch = fetchTogether(fetchWith(database.read));
  const writer = createWriter(database, { channel, errorOf: callbackError });
  const watches = createWatches(database, {
    channel,
    generation: async () => (await fetch(NOTHING)).generation,
    log,
  });
  let closed = false;
  const refuseClosed = (): void => {
    if (closed) throw busy("It is closed.");
  };

  return {
    async read(use, options) {
      refuseClosed();
      const expect = wantedOf(options);
      const guarded = withCallbackErrors(use);
      const quick = await readRounds(fetch, guarded, { expect, mayMove: MAY_MOVE });
      if (quick.kind === "read") return quick.value;
      return database.transact(BEGIN_READ, async (query) => ({
        commit: false,
        value: await readAll(query, guarded, expect),
      }));
    },
    async write(use, options) {
      refuseClosed();
      return writer.write(use, options);
    },
    async scan({ begin, page, expect }) {
      refuseClosed();
      return database.transact(BEGIN_READ, async (query) => {
        const state = await readAll(query, withCallbackErrors(begin), wantedOf({ expect }));
        for await (const rows of pagesOf(query)) page(state, rows);
        return { commit: false, value: state };
      });
    },
    watch: (onChange) => {
      refuseClosed();
      return watches.watch(onChange);
    },
    replays: createDatabaseReplayGuard(database, clock),
    async close() {
      if (closed) return;
      closed = true;
      await watches.close();
      await writer.idle();
      await database.close();
    },
  };
};

/**
 * Gives the tables of a store that is no good other names, and makes new ones. Resolves to the name of its rows' table.
 * Errors: as `openPostgres`.
 */
export const setStoreAside = async (url: string, { clock, log }: PostgresOptions): Promise<string> => {
  const database = await connectDatabase(parsePostgresUrl(url), { log, poolSize: 1 });
  try {
    const time = new Date(clock.now()).toISOString().replaceAll(/[^0-9]/g, "");
    await renameTables(database, `damaged_${time}`);
    await prepareDatabase(database, log);
    return `sidekey_rows_damaged_${time}`;
  } finally {
    await database.close();
  }
};

/** Within a transaction that sees one snapshot. */
const readAll = async <T>(query: Query, use: (tx: ReadTx) => T, expect: Wanted): Promise<T> => {
  const read = await readRounds(fetchWith(query), use, { expect, mayMove: 0 });
  if (read.kind === "moved") throw new TypeError("a snapshot that moves");
  return read.value;
};

async function* pagesOf(query: Query): AsyncGenerator<readonly Row[]> {
  let after = "";
  for (;;) {
    const result = await query({
      name: "sidekey_page",
      text: `SELECT key, value FROM sidekey_rows WHERE key > $1::text COLLATE "C" ORDER BY key LIMIT ${PAGE_ROWS}`,
      values: [after],
    });
    const rows = result.flatMap(({ key, value }) =>
      typeof key === "string" && Buffer.isBuffer(value) ? [{ key, value }] : [],
    );
    if (rows.length > 0) yield rows;
    if (rows.length < PAGE_ROWS) return;
    after = rows.at(-1)?.key ?? after;
  }
}

/** Thrown through the database's own faults, of which it is none. */
const withCallbackErrors =
  <T>(use: (tx: ReadTx) => T) =>
  (tx: ReadTx): T => {
    try {
      return use(tx);
    } catch (error) {
      throw callbackError(error);
    }
  };

/** Our own mistakes stay what they are, as in the embedded store. */
const callbackError = (error: unknown): unknown =>
  isSidekeyError(error) || error instanceof TypeError
    ? error
    : new SidekeyError("VAULT_STORE_BUSY", { detail: "The transaction failed.", cause: error });
