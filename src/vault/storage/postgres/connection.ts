/**
 * Connections to a PostgreSQL database: the only door to `pg`, which is imported when a database is opened. What only
 * reads is asked once more when its connection is lost; a transaction too, unless its end was sent already. Must never
 * take a commit whose answer was lost for one that failed, or for one that is in.
 */
import type { Client, ClientConfig, PoolClient } from "pg";
import type { Log } from "../../../core/log.ts";
import { busy, isFull, isLost, isRefusal, isUndone, storageFault, unknownOutcome } from "./faults.ts";
import { createPlaces } from "./places.ts";
import { createSessions, sharedSessions } from "./session.ts";
import type { PostgresAddress } from "./url.ts";

export type Value =
  | string
  | number
  | Buffer
  | readonly string[]
  | readonly number[]
  | readonly boolean[]
  | readonly Buffer[];

export interface Statement {
  /** Statements with a name are prepared once for each connection. */
  readonly name?: string;
  readonly text: string;
  readonly values?: readonly Value[];
}

export type ResultRow = Readonly<Record<string, unknown>>;
/** Errors: whatever the driver throws; `Database` makes them ours. */
export type Query = (statement: Statement) => Promise<readonly ResultRow[]>;

export interface Listener {
  close(): Promise<void>;
}

/** Errors of every method: VAULT_STORE_BUSY. */
export interface Database {
  /** A statement that changes nothing. */
  read(statement: Statement): Promise<readonly ResultRow[]>;
  /** One that changes something, in a transaction of its own: once, whatever becomes of it. */
  change(statement: Statement): Promise<readonly ResultRow[]>;
  /**
   * `use` between BEGIN and COMMIT; `commit: false` of it, and an error, roll back. It may be called again, with a
   * transaction that is as new as its first one, when the connection was lost before the COMMIT was sent, or PostgreSQL
   * has undone it for another one's sake.
   */
  transact<T>(begin: string, use: (query: Query) => Promise<Transacted<T>>): Promise<T>;
  /** Hears a channel over a connection of its own. `onEnd` comes once, when that is lost. */
  listen(channel: string, onNotice: (payload: string) => void, onEnd: () => void): Promise<Listener>;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

export interface Transacted<T> {
  readonly commit: boolean;
  readonly value: T;
}

const POOL_SIZE = 10;
/** `ms` */
const CONNECT_TIMEOUT_MS = 5000;
const IDLE_TIMEOUT_MS = 60_000;
/** Later than the server's own end to a statement. `ms` */
const ANSWER_TIMEOUT_MS = 25_000;
const KEEP_ALIVE_MS = 10_000;
/** Of one who asks for a connection. */
const MAX_REFUSALS = 10;
const MORE_CONNECTIONS =
  "See max_connections, and the limits of the database and the user: a replica has ten, and one that listens.";

export const connectDatabase = async (
  address: PostgresAddress,
  { log, poolSize = POOL_SIZE }: { readonly log: Log; readonly poolSize?: number },
): Promise<Database> => {
  const pg = await import("pg");
  const config: ClientConfig = {
    host: address.host,
    port: address.port,
    user: address.user,
    // Never undefined: the driver would look for one in the environment and in the home directory.
    password: address.password,
    database: address.database,
    ssl: address.ssl,
    options: address.options ?? "",
    application_name: "sidekey",
    client_encoding: "UTF8",
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
  };
  const sessions = createSessions();
  const pool = new pg.Pool({
    ...config,
    max: poolSize,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
    allowExitOnIdle: true,
    onConnect: sessions.prepare,
  });
  // An idle connection that ends: the next one who asks gets another.
  pool.on("error", () => log.debug("an idle connection to PostgreSQL has ended"));

  /**
   * Connections of before a loss are not used again: where one ended, the others are of the same server, and mostly as
   * dead without knowing it.
   */
  const epochs = new WeakMap<object, number>();
  let epoch = 0;
  pool.on("connect", (client) => void epochs.set(client, epoch));
  let closed = false;

  const places = createPlaces({
    most: poolSize,
    longestMs: CONNECT_TIMEOUT_MS,
    late: () => busy("No connection was free in time: PostgreSQL gives no more of them.", MORE_CONNECTIONS),
  });
  /** Connections that there are, free or not. */
  const open = new Set<object>();
  pool.on("connect", (client) => {
    open.add(client);
    places.made();
  });
  pool.on("remove", (client) => void open.delete(client));

  const connect = async (): Promise<PoolClient> => {
    for (;;) {
      if (closed) throw busy("It is closed.");
      const client = await pool.connect();
      if (epochs.get(client) === epoch) return client;
      client.release(true);
    }
  };

  const acquire = async (): Promise<PoolClient> => {
    await places.enter();
    for (let refusals = 1; ; refusals += 1) {
      try {
        return await connect();
      } catch (error) {
        if (!isFull(error) || open.size === 0 || refusals > MAX_REFUSALS) {
          places.leave();
          throw error;
        }
        // Those that there are are all there is: it waits for one of them.
        places.refused(open.size);
        places.leave();
        await places.enter("first");
      }
    }
  };

  const release = (client: PoolClient, isLostOne: boolean): void => {
    // A lost one may take its time to be gone.
    if (isLostOne) open.delete(client);
    client.release(isLostOne);
    places.leave();
  };

  /** Runs `use` with a connection, and again with another one when the first was lost and `mayRepeat` says yes. */
  const withClient = async <T>(use: (client: PoolClient) => Promise<T>, mayRepeat: () => boolean): Promise<T> => {
    for (let attempt = 0; ; attempt += 1) {
      let client: PoolClient | undefined;
      try {
        client = await acquire();
        const held = client;
        // Without a listener it would end the process; the query under way fails as well.
        held.on("error", ignore);
        const value = await use(held).finally(() => held.off("error", ignore));
        client = undefined;
        release(held, false);
        return value;
      } catch (error) {
        if (client !== undefined) release(client, true);
        if (client !== undefined && isLost(error) && epochs.get(client) === epoch) epoch += 1;
        const isOver = isUndone(error);
        if (client === undefined || attempt > 0 || !(isOver || (isLost(error) && mayRepeat())))
          throw storageFault(error);
        log.warn(
          isOver
            ? "PostgreSQL has undone a transaction that met another one; beginning it again"
            : "a connection to PostgreSQL was lost; trying another one",
        );
      }
    }
  };

  const never = (): boolean => false;
  /** A second connection that is not to be had tells nothing; each transaction looks again. */
  const requireSessions = async (): Promise<void> => {
    const areApart = await withClient(
      (one) => withClient((other) => sessions.areApart(one, other), never).catch(() => true),
      never,
    );
    if (!areApart) throw sharedSessions();
  };
  if (poolSize > 1) {
    try {
      await requireSessions();
    } catch (error) {
      closed = true;
      await pool.end();
      throw error;
    }
  }

  return {
    read: (statement) =>
      withClient(
        (client) => rowsOf(client, statement),
        () => true,
      ),
    change: (statement) =>
      withClient(
        (client) => rowsOf(client, statement),
        () => false,
      ),
    transact(begin, use) {
      let isEndSent = false;
      return withClient(
        async (client) => {
          await sessions.begin(client, begin);
          const { commit, value } = await use((statement) => rowsOf(client, statement));
          if (!commit) {
            await client.query("ROLLBACK");
            return value;
          }
          isEndSent = true;
          try {
            const { command } = await client.query("COMMIT");
            if (command === "COMMIT") return value;
          } catch (error) {
            throw isRefusal(error) ? error : unknownOutcome();
          }
          throw busy("PostgreSQL has rolled the change back.");
        },
        () => !isEndSent,
      );
    },
    async listen(channel, onNotice, onEnd) {
      const client = new pg.Client({ ...config, query_timeout: CONNECT_TIMEOUT_MS });
      return listenWith(client, channel, onNotice, onEnd);
    },
    async close() {
      if (closed) return;
      closed = true;
      await pool.end();
    },
  };
};

const rowsOf = async (
  client: Pick<PoolClient, "query">,
  { name, text, values }: Statement,
): Promise<readonly ResultRow[]> => {
  const { rows } = await client.query<ResultRow>({
    text,
    ...(name !== undefined && { name }),
    ...(values !== undefined && { values: [...values] }),
  });
  return rows;
};

const listenWith = async (
  client: Client,
  channel: string,
  onNotice: (payload: string) => void,
  onEnd: () => void,
): Promise<Listener> => {
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    onEnd();
    void client.end().catch(ignore);
  };
  client.on("error", end);
  client.on("notification", ({ payload = "" }) => onNotice(payload));
  try {
    await client.connect();
    // Not in its types: a listener keeps no process alive.
    (client as Client & { unref(): void }).unref();
    // A name of ours: letters, digits and `_`.
    await client.query(`LISTEN ${channel}`);
  } catch (error) {
    isOver = true;
    void client.end().catch(ignore);
    throw storageFault(error);
  }
  client.on("end", end);
  return {
    async close() {
      if (isOver) return;
      isOver = true;
      await client.end().catch(ignore);
    },
  };
};

const ignore = (): void => {};
