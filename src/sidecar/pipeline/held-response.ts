/**
 * A response that is held back until it is decided that it may go: its head, and up to a limit of its body. Until then
 * nothing of it has reached the agent, and a refusal can still be sent in its place.
 */
import type { ClientResponse } from "./messages.ts";

const MAX_PIECES = 256;

export class HeldResponse {
  readonly #client: ClientResponse;
  readonly #limit: number;
  #head: (() => void) | undefined;
  #body: Buffer[] = [];
  /** The last of the body, in pieces that were not joined yet. */
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** `limit`: bytes of the body that are held; with 0 the first of them releases the head. */
  constructor(client: ClientResponse, limit: number) {
    this.#client = client;
    this.#limit = limit;
  }

  head(status: number, headers: string[], length: number | undefined): void {
    this.#head = () => this.#client.head(status, headers, length);
  }

  /** False: wait for the client's drain. */
  write(chunk: Buffer): boolean {
    if (this.#head !== undefined) {
      this.#bytes += chunk.length;
      if (this.#bytes <= this.#limit) {
        this.#pieces.push(chunk);
        if (this.#pieces.length === MAX_PIECES) this.#join();
        return true;
      }
      this.release();
    }
    return this.#client.write(chunk);
  }

  /** Sends what is held, and holds nothing any more. */
  release(): void {
    const head = this.#head;
    if (head === undefined) return;
    this.#head = undefined;
    this.#join();
    const body = this.#body;
    this.#body = [];
    head();
    for (const chunk of body) this.#client.write(chunk);
  }

  /** A piece costs more than its bytes: a million of one byte each would be a hundred times what is held. */
  #join(): void {
    if (this.#pieces.length > 0) this.#body.push(Buffer.concat(this.#pieces));
    this.#pieces = [];
  }
}
