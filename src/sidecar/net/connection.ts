/** A connection to an upstream, and whether what came over it ended as its sender meant it to. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

export interface Connection {
  readonly socket: Socket | TLSSocket;
  /**
   * True once the other side has ended it in order: close_notify in TLS (RFC 8446 section 6.1), FIN in cleartext. Asked
   * where the end of the connection is the end of a body; anybody on the way can cause every other end.
   */
  endedInOrder(): boolean;
}

export const plainConnection = (socket: Socket): Connection => {
  let wasReset = false;
  // Where a reset comes together with the last bytes, libuv tells of the bytes and then of an end. Only the system knows
  // better: it names the other side of a connection that was ended there alone, and of one that was reset no more
  // (getpeername(2): ENOTCONN). Asked before Node's own listener ends this side too, and nowhere earlier: Node remembers
  // the answer. Of a connection that this side ended first it can't be told.
  socket.prependOnceListener("end", () => {
    wasReset = !socket.writableEnded && socket.remoteAddress === undefined;
  });
  return {
    socket,
    // After a reset Node may still emit nothing but an error: then nothing was ended.
    endedInOrder: () => socket.readableEnded && socket.errored === null && !wasReset,
  };
};
