/**
 * What a connection to the database has to be before anything is asked over it: a session of our own, with our settings, on
 * a primary. A pooler that gives each transaction another session of the server would carry our settings, the one that a
 * commit is on disk before its answer among them, to whoever comes next and leave us with somebody else's. Must never let one
 * pass unnoticed.
 */
import type { SidekeyError } from "../../../core/errors.ts";
import { busy, isProtocolFault } from "./faults.ts";

/** A connection of the driver. */
interface Asking {
  query(text: string): Promise<unknown>;
}

export interface Sessions {
  /** Of a new connection. Errors: those of the driver; VAULT_STORE_BUSY. */
  prepare(client: Asking): Promise<void>;
  /** Begins a transaction, with one round trip. Errors: those of the driver; VAULT_STORE_BUSY. */
  begin(client: Asking, begin: string): Promise<void>;
  /** Whether each of two connections keeps a session. Errors: those of the driver. */
  areApart(one: Asking, other: Asking): Promise<boolean>;
}

/**
 * The last two settings keep others from being held up by a process that stands still in a transaction, and a commit from being
 * answered before it is on disk. Keys are always looked up by index: a plan that was made for an empty table would read a
 * full one through.
 */
const SESSION = `
  SET statement_timeout = '20s'; SET lock_timeout = '10s'; SET client_min_messages = warning;
  SET enable_seqscan = off; SET jit = off; SET default_transaction_isolation = 'read committed';
  SET idle_in_transaction_session_timeout = '10s';
  SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
  SELECT pg_is_in_recovery() AS standby, pg_backend_pid() AS session`;

const WHICH = "SELECT pg_backend_pid() AS session";

export const createSessions = (): Sessions => {
  const sessions = new WeakMap<Asking, unknown>();

  const isOwn = (client: Asking, row: Readonly<Record<string, unknown>> | undefined): boolean =>
    row !== undefined && row["session"] === sessions.get(client);

  const ask = async (client: Asking, text: string): Promise<Readonly<Record<string, unknown>> | undefined> => {
    // Several statements have several results.
    const results = await client.query(text);
    const last = Array.isArray(results) ? results.at(-1) : results;
    return last?.rows?.[0];
  };

  return {
    async prepare(client) {
      const row = await ask(client, SESSION);
      // A standby gives what the primary had some time ago: what was revoked or rotated since would go on.
      if (row?.["standby"] !== false) {
        throw busy("It is a standby, which may lag behind.", "Name the primary in the URL, or what leads to it.");
      }
      sessions.set(client, row["session"]);
    },

    async begin(client, begin) {
      if (!isOwn(client, await ask(client, `${begin}; ${WHICH}`))) throw sharedSessions();
    },

    async areApart(one, other) {
      try {
        // While the first has one for a transaction, the second gets another one than before; and when both are free, the
        // one that was freed last, or each in turn.
        if (!isOwn(one, await ask(one, `BEGIN; ${WHICH}`))) return false;
        try {
          if (!isOwn(other, await ask(other, WHICH))) return false;
        } finally {
          await one.query("ROLLBACK");
        }
        for (const client of [other, other, one]) if (!isOwn(client, await ask(client, WHICH))) return false;
        return true;
      } catch (error) {
        // No transactions at all.
        if (isProtocolFault(error)) return false;
        throw error;
      }
    },
  };
};

export const sharedSessions = (): SidekeyError =>
  busy(
    "What stands between gives each transaction another session, as pgbouncer does in its modes 'transaction' and 'statement'.",
    "Let it keep sessions (pool_mode = session), or name PostgreSQL itself in the URL.",
  );
