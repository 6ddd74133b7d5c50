/**
 * Content codings of response bodies, taken off so that what is inside can be searched: gzip, deflate (zlib or raw) and
 * br, alone or stacked. It never lets through what it did not decode: broken data, data cut short, and bytes behind the
 * end of the coded data are all refused.
 *
 * A body that arrives whole and is small is decoded at once, on the spot: a stream costs five times as much, in jobs for
 * libuv's pool. Everything else streams, piece by piece as it comes, at the pace of the reader.
 */
import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync, type Zlib } from "node:zlib";
import { type Coding, type DecoderEvents, isZlibHeader } from "./codings.ts";
import { DecoderChain } from "./decoders-stream.ts";

/** A body up to this size, coded, is decoded on the spot if it ends in the turn of the loop it began in. `bytes` */
const WHOLE_INPUT = 64 * 1024;
/** Decoded on the spot up to this size, in about a millisecond. `bytes` */
const WHOLE_OUTPUT = 256 * 1024;

export class BodyDecoder {
  readonly #codings: readonly Coding[];
  readonly #events: DecoderEvents;
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #turn: NodeJS.Immediate | undefined;
  #chain: DecoderChain | undefined;
  #done = false;

  /** `codings`: from `parseCodings`, not empty. */
  constructor(codings: readonly Coding[], events: DecoderEvents) {
    this.#codings = codings;
    this.#events = events;
  }

  write(chunk: Buffer): void {
    if (this.#done || chunk.length === 0) return;
    if (this.#chain !== undefined) {
      this.#chain.write(chunk);
      return;
    }
    this.#early.push(chunk);
    this.#earlyBytes += chunk.length;
    if (this.#earlyBytes > WHOLE_INPUT) this.#stream();
    else this.#turn ??= setImmediate(() => this.#stream());
  }

  /** The coded body is complete. */
  end(): void {
    if (this.#done) return;
    if (this.#chain !== undefined) {
      this.#chain.end();
      return;
    }
    clearImmediate(this.#turn);
    // Coded or not, nothing is nothing: many servers name a coding for an empty body.
    const whole = this.#earlyBytes === 0 ? EMPTY : decodeWhole(this.#codings, Buffer.concat(this.#early));
    if (whole === "large") {
      this.#stream().end();
      return;
    }
    this.#done = true;
    if (whole === "broken") {
      this.#events.broken("the coded body is broken or cut short");
      return;
    }
    if (whole.length > 0) this.#events.data(whole);
    this.#events.end();
  }

  /** No more `data` until `resume`. */
  pause(): void {
    this.#chain?.pause();
  }

  resume(): void {
    this.#chain?.resume();
  }

  /** Nothing more is told. */
  destroy(): void {
    this.#done = true;
    clearImmediate(this.#turn);
    this.#early = [];
    this.#chain?.destroy();
  }

  #stream(): DecoderChain {
    clearImmediate(this.#turn);
    const chain = new DecoderChain(this.#codings, this.#events);
    this.#chain = chain;
    const early = this.#early;
    this.#early = [];
    for (const chunk of early) chain.write(chunk);
    return chain;
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

const decodeWhole = (codings: readonly Coding[], coded: Buffer): Buffer | "broken" | "large" => {
  let bytes = coded;
  for (const coding of codings) {
    if (bytes.length === 0) return bytes;
    const decoded = decodeOne(coding, bytes);
    if (typeof decoded === "string") return decoded;
    bytes = decoded;
  }
  return bytes;
};

/** With `info` the synchronous calls return the engine too, which knows how much of the input it took. */
const OPTIONS = { maxOutputLength: WHOLE_OUTPUT, info: true } as const;

const decodeOne = (coding: Coding, bytes: Buffer): Buffer | "broken" | "large" => {
  try {
    const { buffer, engine } = wholeDecoder(coding, bytes)(bytes, OPTIONS) as unknown as Decoded;
    return engine.bytesWritten === bytes.length ? buffer : "broken";
  } catch (error) {
    // Only the code is looked at: what the message quotes is the upstream's.
    return error instanceof RangeError && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE" ? "large" : "broken";
  }
};

interface Decoded {
  readonly buffer: Buffer;
  readonly engine: Zlib;
}

const wholeDecoder = (coding: Coding, bytes: Buffer) => {
  if (coding === "gzip") return gunzipSync;
  if (coding === "br") return brotliDecompressSync;
  return isZlibHeader(bytes[0] ?? 0, bytes[1] ?? 0) ? inflateSync : inflateRawSync;
};
