/** The TCP or unix socket server behind every way in. */
import { createServer, type Server, type Socket } from "node:net";

/**
 * Half open: a client that has said all it will may still read its refusal. After a minute of silence the system asks
 * whether it is still there; Node's default, 0, is refused by it, and two hours would stay.
 */
const OPTIONS = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000, allowHalfOpen: true } as const;

/** For `listen()`. */
export const createListener = (accept: (socket: Socket) => void): Server =>
  createServer(OPTIONS, (socket) => {
    // Whoever has it, or is only turned away: a reset that nobody hears of would end the process.
    socket.on("error", () => socket.destroy());
    accept(socket);
  });
