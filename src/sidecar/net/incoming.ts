/**
 * What arrives on a socket, handed on in its order: past the queue of Node's stream as long as nothing waits in it, which
 * is nearly always, and at the end of the loop's turn, together with what has arrived on the others. Order, pauses,
 * back-pressure and the end stay the stream's own business: paused, or while something waits, everything goes through it.
 */
import type { Socket } from "node:net";
import { atTurnEnd, type TurnEnd } from "../../core/turn-end.ts";

/** What reads a socket. */
export interface Incoming {
  /** Something has come that nobody has looked at. */
  readonly waits: boolean;
  /** Ends it, and leaves the socket as it was. */
  stop(): void;
}

/**
 * Calls `take` for each chunk while the socket flows. What came before a reset is taken before it is told; of what comes
 * to a socket that is destroyed here, nothing is.
 *
 * Node's sockets hand what they have read to their own `push`; should one come not to, its `data` event still tells.
 */
export const onIncoming = (socket: Socket, take: (chunk: Buffer) => void): Incoming => new Reading(socket, take);

class Reading implements Incoming, TurnEnd {
  readonly #socket: Socket;
  readonly #take: (chunk: Buffer) => void;
  readonly #push: Socket["push"];
  /** Came in this turn; one at most, so that a pause stops the reading behind the second. */
  #chunk: Buffer | undefined;

  constructor(socket: Socket, take: (chunk: Buffer) => void) {
    this.#socket = socket;
    this.#take = take;
    this.#push = socket.push;
    socket.push = this.#pushDirectly;
    socket.on("data", take).prependListener("error", this.#handOn);
  }

  get waits(): boolean {
    return this.#chunk !== undefined;
  }

  readonly #pushDirectly = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    this.#handOn();
    const socket = this.#socket;
    if (chunk === null || socket.readableFlowing !== true || socket.readableLength > 0) {
      return this.#push.call(socket, chunk, encoding);
    }
    this.#chunk = chunk;
    atTurnEnd(this);
    // Paused meanwhile, it reads on until its queue is full, as it would have.
    return true;
  };

  turnEnds(): void {
    // Whoever ends a connection wants nothing more of it.
    if (this.#socket.destroyed) this.#chunk = undefined;
    else this.#handOn();
  }

  readonly #handOn = (): void => {
    const chunk = this.#chunk;
    if (chunk === undefined) return;
    this.#chunk = undefined;
    if (this.#socket.readableFlowing === true) this.#take(chunk);
    else this.#push.call(this.#socket, chunk);
  };

  stop(): void {
    const socket = this.#socket;
    socket.push = this.#push;
    socket.off("data", this.#take).off("error", this.#handOn);
    if (this.#chunk !== undefined) this.#push.call(socket, this.#chunk);
    this.#chunk = undefined;
  }
}
