/**
 * Connections to one upstream, each carrying one exchange at a time. A connection whose exchange was given up or failed
 * is never used again; no request waits behind another one.
 */
import type { SidekeyError } from "../../core/errors.ts";
import type { Connected } from "../net/connector.ts";
import { HttpConnection } from "./http-connection.ts";

export interface ConnectionPool {
  /** The kept connection that was used last, so that the others can grow old and close. */
  take(): HttpConnection | undefined;
  /** Opens a new one; calls back once, perhaps at once. What it returns gives the attempt up. */
  open(done: (error: SidekeyError | null, connection: HttpConnection | null) => void): () => void;
  /** After an exchange that ended well. `keepMs`: how long it may be kept; 0 = not. `framed`: its body had a length or chunks. */
  release(connection: HttpConnection, keepMs: number, framed: boolean): void;
  /** A body ended with its connection: from now on, for good, the end of every new connection is watched. */
  watchEnds(): void;
  /** After an exchange that did not end well. */
  discard(connection: HttpConnection): void;
  /** Closes what was kept for too long, and lets exchanges see that time passes. `now`: monotonic, `ms`. */
  sweep(now: number): void;
  readonly isIdle: boolean;
  /** Closes what is kept, and keeps nothing from now on. */
  retire(): void;
  close(): void;
}

/**
 * The ends of connections are watched, which costs, until an upstream has given this many bodies a length or chunks.
 * Should it then end one with its connection after all, nothing vouches for that one and it is cut.
 */
const TRUSTED_AFTER = 32;

/** Opens one connection, checked and ready; what it returns gives the attempt up. */
export type Connect = (watchEnd: boolean, done: Connected) => () => void;

export interface PoolOptions {
  readonly connect: Connect;
  /** Over TLS; in cleartext every end can be told, and nothing has to be watched. */
  readonly isSecure: boolean;
  /** Monotonic, `ms`. */
  readonly now: () => number;
}

export const createConnectionPool = ({ connect, isSecure, now }: PoolOptions): ConnectionPool => {
  /** The one used last at the end. */
  const idle: HttpConnection[] = [];
  const all = new Set<HttpConnection>();
  const attempts = new Set<() => void>();
  let retired = false;
  /** Monotonic, `ms`: what is kept is kept from here on, a little less than it might be. */
  let sweptAt = now();
  let watching = isSecure;
  /** Bodies with a length or chunks so far; undefined = it doesn't matter any more. */
  let framed = isSecure ? 0 : undefined;

  const forget = (connection: HttpConnection): void => {
    all.delete(connection);
    const at = idle.indexOf(connection);
    if (at !== -1) idle.splice(at, 1);
  };

  const discard = (connection: HttpConnection): void => {
    forget(connection);
    connection.destroy();
  };

  const discardIdle = (which: (connection: HttpConnection) => boolean): void => {
    for (const connection of idle.filter(which)) discard(connection);
  };

  return {
    take() {
      for (let kept = idle.pop(); kept !== undefined; kept = idle.pop()) {
        if (!kept.isSpoiled) return kept;
        discard(kept);
      }
      return undefined;
    },
    open(done) {
      const watched = watching;
      let cancel: (() => void) | undefined;
      let settled = false;
      const giveUp = connect(watched, (error, connection) => {
        settled = true;
        if (cancel !== undefined) attempts.delete(cancel);
        if (connection === null) return done(error, null);
        const opened = new HttpConnection(connection, watched, forget);
        all.add(opened);
        done(null, opened);
      });
      cancel = giveUp;
      if (!settled) attempts.add(giveUp);
      return giveUp;
    },
    release(connection, keepMs, isFramed) {
      if (!all.has(connection)) return;
      if (isFramed && framed !== undefined && ++framed > TRUSTED_AFTER) watching = false;
      // Of the other kind, and so replaced by one that costs less, or that can tell an end.
      if (retired || keepMs === 0 || connection.watched !== watching) {
        discard(connection);
        return;
      }
      connection.keepUntil = sweptAt + keepMs;
      connection.release();
      idle.push(connection);
    },
    watchEnds() {
      framed = undefined;
      if (!isSecure || watching) return;
      watching = true;
      discardIdle(() => true);
    },
    discard,
    sweep(time) {
      sweptAt = time;
      discardIdle(({ keepUntil }) => keepUntil <= time);
      for (const connection of all) connection.tick(time);
    },
    get isIdle() {
      return all.size === idle.length && attempts.size === 0;
    },
    retire() {
      retired = true;
      discardIdle(() => true);
    },
    close() {
      for (const giveUp of attempts) giveUp();
      for (const connection of all) connection.destroy();
      attempts.clear();
      all.clear();
      idle.length = 0;
    },
  };
};
