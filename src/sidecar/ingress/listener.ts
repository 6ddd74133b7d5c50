/** The TCP or unix socket server behind every way in. */
import { createServer, type Server, type Socket } from "node:net";

/** Half open: a client that has said all it will may still read its refusal. */
const OPTIONS = { noDelay: true, keepAlive: true, allowHalfOpen: true } as const;

/** For `listen()`. */
export const createListener = (accept: (socket: Socket) => void): Server =>
  createServer(OPTIONS, (socket) => {
    // Whoever has it, or is only turned away: a reset that nobody hears of would end the process.
    socket.on("error", () => socket.destroy());
    accept(socket);
  });
