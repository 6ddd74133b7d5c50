/**
 * Who comes in, how many, and out again when the sidecar stops: one door for the connections of every listener. Decides
 * on addresses only, before a byte is read; what a connection asks for is not known here.
 */
import type { Server, Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { type Cidr, cidrContains, parsePeer } from "../../core/ip.ts";
import type { Log } from "../../core/log.ts";
import type { CurrentGeneration } from "./generation.ts";
import type { RequestHandler } from "./handler.ts";
import type { Load } from "./load.ts";
import { refuseOnSocket } from "./reply.ts";

/** `ms` */
const LOG_INTERVAL = 60_000;
/** Refused connections that are left to their clients to close. A burst of more would take all open files. */
const MAX_PARTING = 16;

export interface Door {
  /** Whether a new connection may stay. `clients`: the ranges that may come in; undefined = whoever reaches it. */
  admit(socket: Socket, clients: readonly Cidr[] | undefined): boolean;
  /** From here on `inner`, the TLS inside it, stands for the connection. */
  replace(socket: Socket, inner: Socket): void;
  /** Stops listening, lets requests in flight end, and cuts what is left after `graceMs`. */
  close(servers: readonly Server[], graceMs: number): Promise<void>;
}

export interface DoorOptions {
  readonly handler: RequestHandler;
  readonly clock: Clock;
  readonly log: Log;
  readonly current: CurrentGeneration;
  readonly load: Load;
}

export const createDoor = ({ handler, clock, log, current, load }: DoorOptions): Door => {
  const sockets = new Set<Socket>();
  let parting = 0;
  let untold = 0;
  let toldAt = Number.NEGATIVE_INFINITY;

  const keep = (socket: Socket): void => {
    sockets.add(socket);
    load.connections = sockets.size;
    socket.once("close", () => {
      sockets.delete(socket);
      load.connections = sockets.size;
    });
  };

  const turnAway = (socket: Socket): void => {
    const from = socket.remoteAddress;
    socket.destroy();
    load.strangers += 1;
    untold += 1;
    const now = clock.monotonic();
    if (now - toldAt < LOG_INTERVAL) return;
    log.warn("connections from outside listen.clients were cut", { count: untold, from });
    toldAt = now;
    untold = 0;
  };

  /** The kernel has the answer already. A client that does not close its side keeps a file open here until a timeout. */
  const part = (socket: Socket): void => {
    if (parting >= MAX_PARTING) return void socket.destroy();
    parting += 1;
    socket.once("close", () => {
      parting -= 1;
    });
  };

  return {
    admit(socket, clients) {
      if (clients !== undefined && !isAmong(socket.remoteAddress, clients)) {
        turnAway(socket);
        return false;
      }
      if (sockets.size >= current().limits.connections) {
        load.surplus += 1;
        // Not on record one by one: a flood must not fill the audit.
        refuseOnSocket(socket, new SidekeyError("OVERLOADED"), handler.createContext().id);
        part(socket);
        return false;
      }
      keep(socket);
      return true;
    },
    replace(socket, inner) {
      sockets.delete(socket);
      keep(inner);
    },
    async close(servers, graceMs) {
      const closed = Promise.all(
        servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
      );
      const idle = setInterval(() => {
        for (const socket of sockets) if (handler.isIdle(socket)) socket.destroy();
      }, 50);
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearInterval(idle);
      clearTimeout(cut);
    },
  };
};

const isAmong = (address: string | undefined, clients: readonly Cidr[]): boolean => {
  // A peer that is gone already has no address.
  const bytes = address === undefined ? undefined : parsePeer(address);
  return bytes !== undefined && clients.some((range) => cidrContains(range, bytes));
};
