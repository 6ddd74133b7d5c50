/**
 * What requests and responses of HTTP/1.1 have in common, byte by byte, in the strictest reading of RFC 9112: what two
 * readers could take in two ways is refused, never repaired. Bodies are handed on as pieces of the very buffers they came
 * in; chunk extensions and trailers are read and dropped. It knows nothing of connections and never keeps a body.
 */
import { COLON, CR, HEX, HTAB, LF, SEMICOLON, SP, TEXT, TOKEN } from "../../core/http-syntax.ts";

/** How a body ends: by nothing, by Content-Length, by chunks, or by the end of the connection. */
export type BodyFraming =
  | { readonly kind: "none" | "chunked" | "close" }
  | { readonly kind: "length"; readonly length: number };

/** What one side takes from the other. */
export interface ParserRules {
  /** Of a chunk's size, leading zeros among them. */
  readonly sizeDigits: number;
  /** Of all extensions of a message together, `bytes`. */
  readonly extensions: number;
  /** Tabs at the end of a value are no part of it. Some readers leave them there, and take another value then. */
  readonly cutsTabs: boolean;
}

/** First line and headers, and likewise trailers. `bytes` */
const MAX_HEADER_BYTES = 64 * 1024;
const HEADERS_TOO_LARGE = "the headers are too large";
/** Sixteen times that, and a size could not be counted exactly any more. */
const MAX_SIZE = 2 ** 48 - 1;

const HEAD_END = Buffer.from("\r\n\r\n");

type State =
  | "idle"
  | "head"
  | "length"
  | "close"
  | "chunk-size"
  | "chunk-extension"
  | "chunk-size-lf"
  | "chunk"
  | "chunk-cr"
  | "chunk-lf"
  | "trailers";

/** After an error it must not be used again. */
export abstract class MessageParser {
  readonly #rules: ParserRules;
  #state: State = "idle";
  /** Of the body, or of the chunk. */
  #left = 0;
  #sizeDigits = 0;
  #extensionBytes = 0;
  /** A head, or trailers, that did not come in one piece. */
  #pending: Buffer | undefined;
  #pendingLength = 0;

  constructor(rules: ParserRules) {
    this.#rules = rules;
  }

  /**
   * A whole head: `bytes[start, end)`, where the last line's end and the empty line follow. Undefined: it is followed by
   * another one.
   */
  protected abstract head(bytes: Buffer, start: number, end: number): BodyFraming | undefined;
  /** `bytes[0, length)` of a head that is not whole yet, new from `from` on: throws when it will never be one. */
  protected abstract checkBeginning(bytes: Buffer, from: number, length: number): void;
  protected abstract data(chunk: Buffer): void;
  /** The message is complete. `surplus`: more bytes came with its last ones. */
  protected abstract complete(surplus: boolean): void;
  protected abstract malformed(detail: string): never;
  protected abstract tooLarge(detail: string): never;
  /** A head is too large: `bytes[start, end)` is what there is of it. */
  protected headTooLarge(_bytes: Buffer, _start: number, _end: number): never {
    return this.tooLarge(HEADERS_TOO_LARGE);
  }

  /** A message is to come. */
  protected expectHead(): void {
    this.#state = "head";
    this.#extensionBytes = 0;
  }

  /** No message is being read. */
  get isIdle(): boolean {
    return this.#state === "idle";
  }

  /** Some bytes of a head have come, and not all. */
  get isInHead(): boolean {
    return this.#state === "head" && this.#pending !== undefined;
  }

  /** A head is to come, and nothing of it has. */
  protected get expectsFirstByte(): boolean {
    return this.#state === "head" && this.#pending === undefined;
  }

  /** The connection has ended: whether that is how the body ends. */
  get endsHere(): boolean {
    return this.#state === "close";
  }

  /** Reads on from `at`; returns where to go on, before the end of the chunk at the end of a message at the latest. */
  read(chunk: Buffer, at: number): number {
    switch (this.#state) {
      case "length":
      case "chunk":
        return this.#body(chunk, at);
      case "close":
        this.data(at === 0 ? chunk : chunk.subarray(at));
        return chunk.length;
      case "head":
        return this.#head(chunk, at);
      case "trailers":
        return this.#trailers(chunk, at);
      default:
        return this.#chunkFrame(chunk, at);
    }
  }

  #complete(chunk: Buffer, at: number): number {
    this.#state = "idle";
    this.complete(at < chunk.length);
    return at;
  }

  #body(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left);
    this.#left -= end - at;
    this.data(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
    if (this.#left > 0) return end;
    if (this.#state === "length") return this.#complete(chunk, end);
    this.#state = "chunk-cr";
    return end;
  }

  /** What stands between the bytes of two chunks (RFC 9112 section 7.1). */
  #chunkFrame(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.length; at++) {
      const byte = chunk[at] as number;
      switch (this.#state) {
        case "chunk-size": {
          const digit = HEX[byte] as number;
          if (digit < 16) {
            if (++this.#sizeDigits > this.#rules.sizeDigits || this.#left > MAX_SIZE) {
              this.malformed("a chunk's size is too long");
            }
            this.#left = this.#left * 16 + digit;
          } else if (this.#sizeDigits === 0) this.malformed("a chunk has no size");
          else if (byte === CR) this.#state = "chunk-size-lf";
          else if (byte === SEMICOLON) this.#state = "chunk-extension";
          else this.malformed("a chunk's size is no number");
          break;
        }
        case "chunk-extension":
          if (byte === CR) this.#state = "chunk-size-lf";
          else if (TEXT[byte] === 0) this.malformed("a control character in a chunk extension");
          else if (++this.#extensionBytes > this.#rules.extensions) this.tooLarge("the chunk extensions are too large");
          break;
        case "chunk-size-lf":
          if (byte !== LF) this.malformed("a chunk's size does not end its line");
          this.#state = this.#left === 0 ? "trailers" : "chunk";
          return at + 1;
        case "chunk-cr":
          if (byte !== CR) this.malformed("a chunk is longer than its size");
          this.#state = "chunk-lf";
          break;
        default:
          if (byte !== LF) this.malformed("a chunk is longer than its size");
          this.#expectChunk();
      }
    }
    return chunk.length;
  }

  #expectChunk(): void {
    this.#state = "chunk-size";
    this.#left = 0;
    this.#sizeDigits = 0;
  }

  #head(chunk: Buffer, at: number): number {
    const end = this.#pending === undefined ? chunk.indexOf(HEAD_END, at) : -1;
    if (end !== -1) {
      if (end - at > MAX_HEADER_BYTES) this.headTooLarge(chunk, at, end);
      return this.#begin(this.head(chunk, at, end), chunk, end + HEAD_END.length);
    }
    const before = this.#pendingLength;
    const next = this.#collect(chunk, at);
    if (next === undefined) {
      // Another protocol may wait for us to speak, and never end anything.
      this.checkBeginning(this.#pending as Buffer, before, this.#pendingLength);
      return chunk.length;
    }
    const head = this.#takePending();
    return this.#begin(this.head(head, 0, head.length - HEAD_END.length), chunk, next);
  }

  #begin(framing: BodyFraming | undefined, chunk: Buffer, at: number): number {
    switch (framing?.kind) {
      case undefined:
        return at;
      case "none":
        return this.#complete(chunk, at);
      case "length":
        if (framing.length === 0) return this.#complete(chunk, at);
        this.#left = framing.length;
        this.#state = "length";
        return at;
      case "chunked":
        this.#expectChunk();
        return at;
      default:
        this.#state = "close";
        return at;
    }
  }

  /** Judged like headers and dropped (ruling 12); one that frames, read by somebody else, would be a second body. */
  #trailers(chunk: Buffer, at: number): number {
    // Nearly always there are none.
    if (this.#pending === undefined && chunk[at] === CR && chunk[at + 1] === LF) return this.#complete(chunk, at + 2);
    // With a line end before them, an empty line ends them also where they are none.
    if (this.#pending === undefined) this.#append(HEAD_END, 0, 2);
    const next = this.#collect(chunk, at);
    if (next === undefined) return chunk.length;
    const trailers = this.#takePending();
    const fields = this.fields(trailers, 2, trailers.length - 2);
    for (let i = 0; i < fields.length; i += 2) {
      if (/^(?:content-length|transfer-encoding)$/i.test(fields[i] as string)) this.malformed("a trailer that frames");
    }
    return this.#complete(chunk, next);
  }

  /** Flat names and values of the lines from `start` to `end`, each with its line end. One char per byte. */
  protected fields(bytes: Buffer, start: number, end: number): string[] {
    const text = bytes.toString("latin1", start, end);
    const fields: string[] = [];
    const { cutsTabs } = this.#rules;
    for (let at = start; at < end; at += 2) {
      const name = at;
      while (TOKEN[bytes[at] as number] === 1) at++;
      const nameEnd = at;
      if (nameEnd === name || bytes[at] !== COLON) this.malformed("a header's name is malformed");
      for (at++; bytes[at] === SP || bytes[at] === HTAB; at++);
      const value = at;
      while (TEXT[bytes[at] as number] === 1) at++;
      // Also where a value goes on in the next line (RFC 9112 section 5.2): that line has no name.
      if (bytes[at] !== CR || bytes[at + 1] !== LF) this.malformed("a control character in a header");
      let valueEnd = at;
      while (valueEnd > value && (bytes[valueEnd - 1] === SP || (cutsTabs && bytes[valueEnd - 1] === HTAB))) valueEnd--;
      fields.push(text.slice(name - start, nameEnd - start), text.slice(value - start, valueEnd - start));
    }
    return fields;
  }

  /** Adds to what is pending till an empty line is found; returns where the chunk goes on, undefined = not yet. */
  #collect(chunk: Buffer, at: number): number | undefined {
    const before = this.#pendingLength;
    // No more than could be needed is copied, and no byte is looked at twice.
    this.#append(chunk, at, Math.min(chunk.length, at + MAX_HEADER_BYTES + HEAD_END.length - before));
    const pending = this.#pending as Buffer;
    const from = Math.max(0, before - HEAD_END.length + 1);
    const found = pending.subarray(0, this.#pendingLength).indexOf(HEAD_END, from);
    if (found === -1) {
      if (this.#pendingLength >= MAX_HEADER_BYTES) {
        if (this.#state === "head") this.headTooLarge(pending, 0, this.#pendingLength);
        this.tooLarge(HEADERS_TOO_LARGE);
      }
      // Somebody who ends lines otherwise would never end a head for us, and be waited for.
      for (let i = Math.max(1, before); i < this.#pendingLength; i++) {
        if (pending[i] === LF && pending[i - 1] !== CR) this.malformed("a line ends without CR");
      }
      return undefined;
    }
    this.#pendingLength = found + HEAD_END.length;
    return at + this.#pendingLength - before;
  }

  #append(bytes: Buffer, from: number, to: number): void {
    const length = this.#pendingLength + to - from;
    if (this.#pending === undefined || this.#pending.length < length) {
      const grown = Buffer.allocUnsafe(Math.max(1024, 2 * length));
      this.#pending?.copy(grown, 0, 0, this.#pendingLength);
      this.#pending = grown;
    }
    bytes.copy(this.#pending, this.#pendingLength, from, to);
    this.#pendingLength = length;
  }

  #takePending(): Buffer {
    const taken = (this.#pending as Buffer).subarray(0, this.#pendingLength);
    this.#pending = undefined;
    this.#pendingLength = 0;
    return taken;
  }
}
