/**
 * One connection to an upstream that carries one exchange at a time. Between two of them nothing may arrive: bytes that
 * nobody asked for end the connection.
 */
import type { Connection } from "../net/connection.ts";
import { type Incoming, onIncoming } from "../net/incoming.ts";
import type { ResponseReceiver } from "./response-parser.ts";
import { ResponseParser } from "./response-parser.ts";

/** What happens to the connection of an exchange. */
export interface ConnectionUser extends ResponseReceiver {
  /** A moment has passed. `now`: monotonic, `ms`. */
  tick(now: number): void;
  /** May be written to again. */
  drained(): void;
  /** It ended without an error; `endsBody`: which is how the body ends, and it was the upstream's own doing. */
  ended(endsBody: boolean, inOrder: boolean): void;
  /** What came is not HTTP, or the connection broke. */
  broken(error: unknown): void;
}

export class HttpConnection {
  /** Its end is watched: `Connection.endedInOrder` is worth asking. */
  readonly watched: boolean;
  /** Monotonic, `ms`: while nobody uses it, it may be kept till then. */
  keepUntil = 0;
  readonly #connection: Connection;
  readonly #parser: ResponseParser;
  readonly #incoming: Incoming;
  readonly #onIdleEnd: (connection: HttpConnection) => void;
  #user: ConnectionUser | undefined;

  /** `onIdleEnd`: it can't be used any more, and nobody was using it. */
  constructor(connection: Connection, watched: boolean, onIdleEnd: (connection: HttpConnection) => void) {
    this.#connection = connection;
    this.watched = watched;
    this.#onIdleEnd = onIdleEnd;
    this.#parser = new ResponseParser({
      head: (head) => this.#user?.head(head),
      data: (chunk) => this.#user?.data(chunk),
      end: (surplus) => this.#user?.end(surplus),
    });
    this.#incoming = onIncoming(connection.socket, (chunk) => this.#received(chunk));
    connection.socket
      .on("drain", () => this.#user?.drained())
      .on("end", () => this.#ended())
      .on("error", (error) => this.#broken(error))
      .on("close", () => this.#broken(new Error("closed")))
      // What spoke on it before, to a proxy, left it paused.
      .resume();
  }

  /** While nobody uses it: bytes that nobody asked for have come, and are about to end it. */
  get isSpoiled(): boolean {
    return this.#incoming.waits;
  }

  /** The next response is for `user`, whose request is of this method. */
  begin(user: ConnectionUser, method: string): void {
    this.#user = user;
    this.#parser.begin(method);
  }

  tick(now: number): void {
    this.#user?.tick(now);
  }

  /** Nobody's any more. */
  release(): void {
    this.#user = undefined;
    this.#connection.socket.resume();
  }

  /** False: wait for `drained`. */
  write(bytes: Buffer | string): boolean {
    const { socket } = this.#connection;
    return typeof bytes === "string" ? socket.write(bytes, "latin1") : socket.write(bytes);
  }

  /** What is written from here on in this turn, and in what follows it at once, leaves together. */
  gather(): void {
    const { socket } = this.#connection;
    socket.cork();
    process.nextTick(() => socket.uncork());
  }

  pause(): void {
    this.#connection.socket.pause();
  }

  resume(): void {
    this.#connection.socket.resume();
  }

  get isPaused(): boolean {
    return this.#connection.socket.isPaused();
  }

  destroy(): void {
    this.#user = undefined;
    this.#connection.socket.destroy();
  }

  #received(chunk: Buffer): void {
    try {
      if (this.#user !== undefined && this.#parser.execute(chunk)) return;
    } catch (error) {
      this.#broken(error);
      return;
    }
    // An exchange that ended in the middle has seen to its connection itself.
    if (this.#user === undefined) this.#idleEnd();
  }

  #ended(): void {
    if (this.#user === undefined) this.#idleEnd();
    else this.#user.ended(this.#parser.endsHere, this.#connection.endedInOrder());
  }

  #broken(error: unknown): void {
    if (this.#user === undefined) this.#idleEnd();
    else this.#user.broken(error);
  }

  #idleEnd(): void {
    this.#connection.socket.destroy();
    this.#onIdleEnd(this);
  }
}
