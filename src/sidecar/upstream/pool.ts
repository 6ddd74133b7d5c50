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
  /** After an exchange that ended well. */
  release(lane: Lane): void;
  /** After one that did not: its connection is destroyed at once, and so is one that is still being opened. */
  discard(lane: Lane, reason: Error): void;
  readonly inUse: number;
  close(): Promise<void>;
}

/** undici reports a client that is closed already; closed is what was wanted. */
const ignore = (): void => undefined;

interface OpenLane extends Lane {
  /** Gives up what is still being opened. */
  cancel(): void;
}

/** `connect` opens one connection, checked and ready; what it returns gives the attempt up. */
export const createConnectionPool = (
  origin: string,
  options: Client.Options,
  connect: (done: Connected) => () => void,
): ConnectionPool => {
  const idle: OpenLane[] = [];
  const all = new Set<OpenLane>();

  const drop = (lane: OpenLane): void => {
    if (!all.delete(lane)) return;
    const at = idle.indexOf(lane);
    if (at !== -1) idle.splice(at, 1);
  };

  const open = (): OpenLane => {
    let cancel = ignore;
    let endedInOrder = (): boolean => false;
    const client = new Client(origin, {
      ...options,
      connect: (_options, done) => {
        cancel = connect((error, connection) => {
          if (connection === null) return done(error ?? new TypeError("no connection"), null);
          ({ endedInOrder } = connection);
          done(null, connection.socket);
        });
      },
    });
    const lane: OpenLane = { client, endedInOrder: () => endedInOrder(), cancel: () => cancel() };
    all.add(lane);
    // The upstream, or the keep-alive timeout, closed a kept connection: there is nothing left to keep.
    client.on("disconnect", () => {
      if (!idle.includes(lane)) return;
      drop(lane);
      client.close(ignore);
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
    release(lane) {
      if (all.has(lane as OpenLane)) idle.push(lane as OpenLane);
    },
    discard(lane, reason) {
      drop(lane as OpenLane);
      destroy(lane as OpenLane, reason).catch(ignore);
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
