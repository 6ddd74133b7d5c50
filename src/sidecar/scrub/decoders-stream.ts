/**
 * The streaming half of the decoders: one engine of node:zlib for each coding, in a chain. Every engine waits for the
 * one behind it, so memory stays bounded however much comes out; what expands beyond all reason is cut all the same.
 */

import type { Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw, type Zlib } from "node:zlib";
import { type Coding, type DecoderEvents, FREE_OUTPUT, isZlibHeader, MAX_RATIO } from "./codings.ts";

type Engine = Transform & Zlib;

/** `highWaterMark` is for both sides: a whole read of a socket fits in, and so pausing it is rare. `bytes` */
const ENGINE_OPTIONS = { chunkSize: 32 * 1024, highWaterMark: 64 * 1024 } as const;

const startEngine = (coding: Coding, first: Buffer): Engine => {
  if (coding === "gzip") return createGunzip(ENGINE_OPTIONS);
  if (coding === "br") return createBrotliDecompress(ENGINE_OPTIONS);
  return isZlibHeader(first[0] ?? 0, first[1] ?? 0) ? createInflate(ENGINE_OPTIONS) : createInflateRaw(ENGINE_OPTIONS);
};

/** Bytes that tell the two kinds of deflate apart. */
const DEFLATE_HEADER = 2;

export class DecoderChain {
  readonly #events: DecoderEvents;
  readonly #stages: readonly Stage[];
  #input = 0;
  #done = false;

  constructor(codings: readonly Coding[], events: DecoderEvents) {
    this.#events = events;
    this.#stages = codings.map((coding, index) => new Stage(coding, this.#eventsOf(index)));
  }

  write(chunk: Buffer): void {
    if (this.#done) return;
    this.#input += chunk.length;
    if (this.#stages[0]?.write(chunk) === false) this.#events.full();
  }

  end(): void {
    if (!this.#done) this.#stages[0]?.end();
  }

  pause(): void {
    this.#stages.at(-1)?.pause();
  }

  resume(): void {
    this.#stages.at(-1)?.resume();
  }

  destroy(): void {
    this.#done = true;
    for (const stage of this.#stages) stage.destroy();
  }

  #eventsOf(index: number): StageEvents {
    const isLast = (): boolean => index === this.#stages.length - 1;
    return {
      begun: () => {
        if (index === 0 && !this.#done) this.#events.begun();
      },
      data: (chunk, produced) => {
        if (this.#done) return;
        // In every stage: one that unpacks for ever into nothing for the next is a bomb as well.
        if (produced > FREE_OUTPUT && produced > this.#input * MAX_RATIO) {
          this.#fail(`the coded body expands more than ${MAX_RATIO} times`);
        } else if (isLast()) this.#events.data(chunk);
        else if (this.#stages[index + 1]?.write(chunk) === false) this.#stages[index]?.pause();
      },
      end: () => {
        if (this.#done) return;
        if (!isLast()) {
          this.#stages[index + 1]?.end();
          return;
        }
        this.#done = true;
        this.#events.end();
      },
      broken: (why) => this.#fail(why),
      drained: () => {
        if (this.#done) return;
        if (index === 0) this.#events.drained();
        else this.#stages[index - 1]?.resume();
      },
    };
  }

  #fail(why: string): void {
    if (this.#done) return;
    this.destroy();
    this.#events.broken(why);
  }
}

interface StageEvents {
  begun(): void;
  /** `produced`: bytes that came out so far. */
  data(chunk: Buffer, produced: number): void;
  end(): void;
  broken(why: string): void;
  drained(): void;
}

/** One coding. */
class Stage {
  readonly #coding: Coding;
  readonly #events: StageEvents;
  #engine: Engine | undefined;
  /** Fewer bytes than tell what kind of deflate it is. */
  #early: Buffer | undefined;
  #received = 0;
  #produced = 0;
  #paused = false;
  #ending = false;

  constructor(coding: Coding, events: StageEvents) {
    this.#coding = coding;
    this.#events = events;
  }

  /** False: enough for now, `drained` follows. */
  write(chunk: Buffer): boolean {
    this.#received += chunk.length;
    if (this.#engine !== undefined) return this.#engine.write(chunk);
    const first = this.#early === undefined ? chunk : Buffer.concat([this.#early, chunk]);
    if (this.#coding === "deflate" && first.length < DEFLATE_HEADER) {
      this.#early = first;
      return true;
    }
    return this.#start(first);
  }

  end(): void {
    this.#ending = true;
    if (this.#received === 0) {
      this.#events.end();
      return;
    }
    if (this.#engine === undefined) this.#start(this.#early ?? Buffer.alloc(0));
    this.#engine?.end();
  }

  pause(): void {
    this.#paused = true;
    this.#engine?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#engine?.resume();
  }

  destroy(): void {
    this.#engine?.destroy();
  }

  #start(first: Buffer): boolean {
    const engine = startEngine(this.#coding, first);
    this.#engine = engine;
    engine.on("data", (chunk: Buffer) => {
      this.#produced += chunk.length;
      this.#events.data(chunk, this.#produced);
    });
    engine.on("end", () => {
      // It stops at the end of the coded data, and says nothing of what stands behind it.
      if (this.#ending && engine.bytesWritten === this.#received) this.#events.end();
      else this.#events.broken("bytes stand behind the coded body");
    });
    engine.on("error", () => this.#events.broken("the coded body is broken or cut short"));
    engine.on("drain", () => this.#events.drained());
    if (this.#paused) engine.pause();
    return engine.write(first, (error) => {
      if (error === null || error === undefined) this.#events.begun();
    });
  }
}
