/**
 * Connections to one upstream, each an undici client that carries one exchange at a time. undici's own Pool is not
 * used: its abort leaves the request at the head of a client's queue, which opens another connection only to find it
 * aborted, and its choice of a client walks them all.
 */
import { Client } from "undici";
import type { Connected } from "../net/connector.ts";

/** One client, with the connection it has at the moment. */
export interface Lane {
  readonly client: Client;
  /** Asked where the end of the connection is the end of a body. */
  endedInOrder(): boolean;
}

export interface ConnectionPool {
  /** A kept connection, the last used first so that the others can grow old and close; else a new one. */
  acquire(): Lane;
  /** After an exchange that ended well. `framed`: its body had a length or chunks. */
  release(lane: Lane, framed: boolean): void;
  /** A body ended with its connection: from now on, for good, the end of every new connection is watched. */
  watchEnds(): void;
  /** After one that did not: its connection is destroyed at once, and so is one that is still being opened. */
  discard(lane: Lane, reason: Error): void;
  readonly inUse: number;
  /** Closes what is kept, and keeps nothing from now on. */
  retire(): void;
  close(): Promise<void>;
}

/** undici reports a client that is closed already; closed is what was wanted. */
const ignore = (): void => undefined;

/**
 * The ends of connections are watched, which costs, until an upstream has given this many bodies a length or chunks.
 * Should it then end one with its connection after all, nothing vouches for that one and it is cut.
 */
const TRUSTED_AFTER = 32;

interface OpenLane extends Lane {
  readonly watched: boolean;
  /** Gives up what is still being opened. */
  cancel(): void;
}

/** Opens one connection, checked and ready; what it returns gives the attempt up. */
export type Connect = (watchEnd: boolean, done: Connected) => () => void;

export const createConnectionPool = (origin: string, options: Client.Options, connect: Connect): ConnectionPool => {
  const idle: OpenLane[] = [];
  const all = new Set<OpenLane>();
  let retired = false;
  // In cleartext every end can be told, and nothing has to be watched.
  const isSecure = origin.startsWith("https:");
  let watching = isSecure;
  /** Bodies with a length or chunks so far; undefined = it doesn't matter any more. */
  let framed = isSecure ? 0 : undefined;

  const drop = (lane: OpenLane): void => {
    if (!all.delete(lane)) return;
    const at = idle.indexOf(lane);
    if (at !== -1) idle.splice(at, 1);
  };

  const letGo = (lane: OpenLane): void => {
    drop(lane);
    lane.client.close(ignore);
  };

  const open = (): OpenLane => {
    let cancel = ignore;
    const watched = watching;
    let endedInOrder = (): boolean => false;
    const client = new Client(origin, {
      ...options,
      connect: (_options, done) => {
        cancel = connect(watched, (error, connection) => {
          if (connection === null) return done(error ?? new TypeError("no connection"), null);
          ({ endedInOrder } = connection);
          done(null, connection.socket);
        });
      },
    });
    const lane: OpenLane = { client, watched, endedInOrder: () => endedInOrder(), cancel: () => cancel() };
    all.add(lane);
    // The upstream, or the keep-alive timeout, closed a kept connection: there is nothing left to keep.
    client.on("disconnect", () => {
      if (idle.includes(lane)) letGo(lane);
    });
    return lane;
  };

  const destroy = (lane: OpenLane, reason: Error): Promise<void> => {
    const destroyed = lane.client.destroy(reason);
    // Afterwards, so that undici takes the attempt's failure for nobody's.
    lane.cancel();
    return destroyed;
  };

  return {
    acquire: () => idle.pop() ?? open(),
    release(released, isFramed) {
      const lane = released as OpenLane;
      if (!all.has(lane)) return;
      if (isFramed && framed !== undefined && ++framed > TRUSTED_AFTER) watching = false;
      if (lane.watched === watching && !retired) {
        idle.push(lane);
        return;
      }
      // Of the other kind, and so replaced by one that costs less, or that can tell an end.
      letGo(lane);
    },
    watchEnds() {
      framed = undefined;
      if (!isSecure || watching) return;
      watching = true;
      for (const lane of [...idle]) letGo(lane);
    },
    discard(lane, reason) {
      drop(lane as OpenLane);
      destroy(lane as OpenLane, reason).catch(ignore);
    },
    retire() {
      retired = true;
      for (const lane of [...idle]) letGo(lane);
    },
    get inUse() {
      return all.size - idle.length;
    },
    async close() {
      await Promise.all([...all].map((lane) => destroy(lane, new Error("closing"))));
      all.clear();
      idle.length = 0;
    },
  };
};
