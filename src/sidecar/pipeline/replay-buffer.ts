/**
 * A request's body as it flows past, kept so that it can be sent once more. Holds what the agent sent and copies nothing
 * that it need not; what does not fit is not kept at all, and such a request is never repeated (ruling 6).
 */
import { Readable } from "node:stream";
import type { RequestBody } from "./messages.ts";

/** `bytes` */
export const REPLAY_REQUEST_BYTES = 256 * 1024;
/** `bytes` */
const REPLAY_PROCESS_BYTES = 32 * 1024 * 1024;

/** A piece costs more than its bytes: past so many, little ones are put together. */
const MAX_PIECES = 16;
/** What they are put together in. `bytes` */
const BLOCK = 4 * 1024;

/** What all requests of the process may hold together. */
export interface ReplayBudget {
  /** False: there is no room for so many bytes. */
  take(bytes: number): boolean;
  giveBack(bytes: number): void;
}

export const createReplayBudget = (limit = REPLAY_PROCESS_BYTES): ReplayBudget => {
  let held = 0;
  return {
    take(bytes) {
      if (held + bytes > limit) return false;
      held += bytes;
      return true;
    },
    giveBack(bytes) {
      held -= bytes;
    },
  };
};

export interface ReplayBuffer {
  /** Everything that the agent sent is here. */
  readonly isWhole: boolean;
  /** Held. */
  readonly bytes: number;
  /** The body once more, framed as it came; undefined where there was none. Only when it is whole. */
  body(): RequestBody | undefined;
  /** Keeps nothing from here on. */
  release(): void;
}

const NOTHING_SENT: ReplayBuffer = { isWhole: true, bytes: 0, body: () => undefined, release: () => undefined };
const NOTHING_KEPT: ReplayBuffer = { ...NOTHING_SENT, isWhole: false };

/** From here on; `body` must not be flowing yet. */
export const keepBody = (body: RequestBody | undefined, budget: ReplayBudget): ReplayBuffer => {
  if (body === undefined) return NOTHING_SENT;
  const { stream, length } = body;
  if (length !== undefined && length > REPLAY_REQUEST_BYTES) return NOTHING_KEPT;
  let chunks: Buffer[] | undefined = [];
  /** The last of them, as long as there is room in it. */
  let block: { readonly memory: Buffer; used: number } | undefined;
  let bytes = 0;
  let ended = false;

  const keep = (chunk: Buffer, kept: Buffer[]): void => {
    if (kept.length < MAX_PIECES || chunk.length >= BLOCK / 4) {
      block = undefined;
      // A piece of a larger buffer would keep all of that in memory: little pieces add up to more than any budget.
      kept.push(chunk.length * 2 < chunk.buffer.byteLength ? Buffer.from(chunk) : chunk);
      return;
    }
    if (block === undefined || block.used + chunk.length > BLOCK) {
      block = { memory: Buffer.allocUnsafeSlow(BLOCK), used: 0 };
      kept.push(block.memory);
    }
    block.memory.set(chunk, block.used);
    block.used += chunk.length;
    kept[kept.length - 1] = block.memory.subarray(0, block.used);
  };

  const release = (): void => {
    if (chunks === undefined) return;
    stream.off("data", onData);
    budget.giveBack(bytes);
    chunks = undefined;
    block = undefined;
    bytes = 0;
  };
  const onData = (chunk: Buffer): void => {
    if (chunks === undefined) return;
    if (bytes + chunk.length > REPLAY_REQUEST_BYTES || !budget.take(chunk.length)) {
      release();
      return;
    }
    bytes += chunk.length;
    keep(chunk, chunks);
  };
  stream.on("data", onData);
  stream.once("end", () => {
    ended = true;
  });
  return {
    get isWhole() {
      return chunks !== undefined && (ended || bytes === length);
    },
    get bytes() {
      return bytes;
    },
    body: () => ({ length, stream: Readable.from(chunks ?? [], { objectMode: false }) }),
    release,
  };
};
