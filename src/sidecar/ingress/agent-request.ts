/** One request of an agent, read up to its body. */
import { Readable } from "node:stream";
import type { SidekeyError } from "../../core/errors.ts";
import type { Framing } from "./framing.ts";
import type { RequestHead } from "./request-parser.ts";

export interface AgentRequest {
  readonly head: RequestHead;
  /** Or why it must not be served, whoever it is for. */
  readonly framing: Framing | SidekeyError;
  /** Undefined: it has none. */
  readonly body: AgentBody | undefined;
}

/** Waiting to be read; past it the agent's connection is paused. `bytes` */
const HIGH_WATER = 64 * 1024;

/** Less is put together with what came along with it: a piece costs more than its bytes. `bytes` */
const SMALL = 1024;

/** Its body, as the line reads it: paused until somebody resumes it. */
export class AgentBody extends Readable {
  #pieces: Buffer[] = [];

  /** `wanted`: more may come. */
  constructor(wanted: () => void) {
    super({ highWaterMark: HIGH_WATER, read: wanted });
    // Nobody may be reading it when it breaks off.
    this.on("error", () => undefined);
  }

  /** Some of it; `flush` follows before anything waits. False: no more until it is wanted. */
  add(chunk: Buffer): boolean {
    if (chunk.length < SMALL) {
      this.#pieces.push(chunk);
      return true;
    }
    this.flush();
    return this.push(chunk);
  }

  /** What has come may be read. False: as `add`. */
  flush(): boolean {
    const [first] = this.#pieces;
    if (first === undefined || this.destroyed) return true;
    const whole = this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces);
    this.#pieces = [];
    return this.push(whole);
  }

  /** It is whole. */
  end(): void {
    this.flush();
    this.push(null);
  }
}
