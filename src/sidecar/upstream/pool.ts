/**
 * Connections to one upstream, each an undici client that carries one exchange at a time. undici's own Pool is not
 * used: its abort leaves the request at the head of a client's queue, which opens another connection only to find it
 * aborted, and its choice of a client walks them all.
 */
import { Client } from "undici";

export interface ConnectionPool {
  /** A kept connection, the last used first so that the others can grow old and close; else a new one. */
  acquire(): Client;
  /** After an exchange that ended well. */
  release(client: Client): void;
  /** After one that did not: its connection is destroyed at once. */
  discard(client: Client, reason: Error): void;
  readonly inUse: number;
  close(): Promise<void>;
}

/** undici reports a client that is closed already; closed is what was wanted. */
const ignore = (): void => undefined;

export const createConnectionPool = (origin: string, options: Client.Options): ConnectionPool => {
  const idle: Client[] = [];
  const all = new Set<Client>();

  const drop = (client: Client): void => {
    if (!all.delete(client)) return;
    const at = idle.indexOf(client);
    if (at !== -1) idle.splice(at, 1);
  };

  const open = (): Client => {
    const client = new Client(origin, options);
    all.add(client);
    // The upstream, or the keep-alive timeout, closed a kept connection: there is nothing left to keep.
    client.on("disconnect", () => {
      if (!idle.includes(client)) return;
      drop(client);
      client.close(ignore);
    });
    return client;
  };

  return {
    acquire: () => idle.pop() ?? open(),
    release(client) {
      if (all.has(client)) idle.push(client);
    },
    discard(client, reason) {
      drop(client);
      client.destroy(reason, ignore);
    },
    get inUse() {
      return all.size - idle.length;
    },
    async close() {
      await Promise.all([...all].map((client) => client.destroy()));
      all.clear();
      idle.length = 0;
    },
  };
};
