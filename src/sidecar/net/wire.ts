/**
 * A connected socket as a plain stream, so that TLS on top of it is fed from JavaScript: see `Securer`. For the sockets
 * that have said something else before TLS, to a proxy.
 */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";

export class Wire extends Duplex {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    let ended = false;
    socket
      .on("data", (chunk: Buffer) => {
        if (!this.push(chunk)) socket.pause();
      })
      .on("end", () => {
        ended = true;
        this.push(null);
      })
      .on("error", (error) => this.destroy(error))
      .on("close", () => {
        // After an end there may be bytes left to read.
        if (!ended) this.destroy();
      });
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done);
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
    // One segment for what TLS wrote together.
    this.#socket.write(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
