/**
 * Responses of HTTP/1.1 as an upstream sends them, byte by byte, in the strictest reading of RFC 9112: what two readers
 * could take in two ways is refused, never repaired. Bodies are handed on as pieces of the very buffers they came in;
 * chunk extensions and trailers are read and dropped. It knows nothing of connections and never keeps a body.
 */
import { SidekeyError } from "../../core/errors.ts";
import { bodyFraming, type ResponseHead } from "./response-framing.ts";

export interface ResponseReceiver {
  /** Of any status, informational ones too. */
  head(head: ResponseHead): void;
  data(chunk: Buffer): void;
  /** The response is complete. `surplus`: bytes that belong to nothing follow it. */
  end(surplus: boolean): void;
}

/** Status line and headers, and likewise trailers. `bytes` */
const MAX_HEADER_BYTES = 64 * 1024;
/** Past 2^53 sizes could not be counted. */
const MAX_SIZE_DIGITS = 13;

const HTAB = 9;
const LF = 10;
const CR = 13;
const SP = 32;
const COLON = 58;
const SEMICOLON = 59;
const ZERO = 48;

/** 1 = part of a token (RFC 9110 section 5.6.2). */
const TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  TOKEN[char.charCodeAt(0)] = 1;
}
/** 1 = may stand in a field value or a reason phrase (RFC 9110 section 5.5). */
const TEXT = new Uint8Array(256)
  .fill(1, SP)
  .fill(0, 127, 128)
  .fill(1, HTAB, HTAB + 1);
/** Value of a hexadecimal digit; 255 = none. */
const HEX = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  const text = digit.toString(16);
  HEX[text.charCodeAt(0)] = digit;
  HEX[text.toUpperCase().charCodeAt(0)] = digit;
}

const VERSION_START = Buffer.from("HTTP/1.");
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

const bad = (detail: string): never => {
  throw new SidekeyError("UPSTREAM_BAD_RESPONSE", { detail });
};

/** Every method throws UPSTREAM_BAD_RESPONSE for what is not HTTP, and must not be called again afterwards. */
export class ResponseParser {
  readonly #receiver: ResponseReceiver;
  #state: State = "idle";
  #method = "";
  /** Of the body, or of the chunk. */
  #left = 0;
  #sizeDigits = 0;
  /** A head, or trailers, that did not come in one piece. */
  #pending: Buffer | undefined;
  #pendingLength = 0;

  constructor(receiver: ResponseReceiver) {
    this.#receiver = receiver;
  }

  /** The next response answers a request of this method. */
  begin(method: string): void {
    this.#method = method;
    this.#state = "head";
  }

  /** The connection has ended: whether that is how the body ends. */
  get endsHere(): boolean {
    return this.#state === "close";
  }

  /** False: the bytes belong to no response. */
  execute(chunk: Buffer): boolean {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "idle") return false;
      at = this.#step(chunk, at);
    }
    return true;
  }

  /** Reads on from `at`; returns where to go on. */
  #step(chunk: Buffer, at: number): number {
    switch (this.#state) {
      case "length":
      case "chunk":
        return this.#body(chunk, at);
      case "close":
        this.#receiver.data(at === 0 ? chunk : chunk.subarray(at));
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
    this.#receiver.end(at < chunk.length);
    return at;
  }

  #body(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left);
    this.#left -= end - at;
    this.#receiver.data(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
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
            if (++this.#sizeDigits > MAX_SIZE_DIGITS) bad("a chunk's size is too long");
            this.#left = this.#left * 16 + digit;
          } else if (this.#sizeDigits === 0) bad("a chunk has no size");
          else if (byte === CR) this.#state = "chunk-size-lf";
          else if (byte === SEMICOLON) this.#state = "chunk-extension";
          else bad("a chunk's size is no number");
          break;
        }
        case "chunk-extension":
          if (byte === CR) this.#state = "chunk-size-lf";
          else if (TEXT[byte] === 0) bad("a control character in a chunk extension");
          break;
        case "chunk-size-lf":
          if (byte !== LF) bad("a chunk's size does not end its line");
          this.#state = this.#left === 0 ? "trailers" : "chunk";
          return at + 1;
        case "chunk-cr":
          if (byte !== CR) bad("a chunk is longer than its size");
          this.#state = "chunk-lf";
          break;
        default:
          if (byte !== LF) bad("a chunk is longer than its size");
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
      if (end - at > MAX_HEADER_BYTES) bad("the headers are too large");
      return this.#judgeHead(parseHead(chunk, at, end), chunk, end + HEAD_END.length);
    }
    const next = this.#collect(chunk, at, HEAD_END);
    if (next === undefined) {
      // Another protocol may wait for us to speak, and never end anything.
      checkStart(this.#pending as Buffer, 0, Math.min(VERSION_START.length, this.#pendingLength));
      return chunk.length;
    }
    const head = this.#takePending();
    return this.#judgeHead(parseHead(head, 0, head.length - HEAD_END.length), chunk, next);
  }

  #judgeHead(head: ParsedHead, chunk: Buffer, at: number): number {
    const framing = bodyFraming(head, this.#method);
    if (framing === undefined) return bad("ambiguous framing");
    const { status, minor, headers } = head;
    this.#receiver.head({ status, minor, headers, framing });
    if (status < 200) return at;
    switch (framing.kind) {
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
    const next = this.#collect(chunk, at, HEAD_END);
    if (next === undefined) return chunk.length;
    const trailers = this.#takePending();
    const headers = parseFields(trailers, 2, trailers.length - 2);
    for (let i = 0; i < headers.length; i += 2) {
      if (/^(?:content-length|transfer-encoding)$/i.test(String(headers[i]))) bad("a trailer that frames");
    }
    return this.#complete(chunk, next);
  }

  /** Adds to what is pending till `end` is found; returns where the chunk goes on, undefined = not yet. */
  #collect(chunk: Buffer, at: number, end: Buffer): number | undefined {
    const before = this.#pendingLength;
    // No more than could be needed is copied, and no byte is looked at twice.
    this.#append(chunk, at, Math.min(chunk.length, at + MAX_HEADER_BYTES + end.length - before));
    const pending = this.#pending as Buffer;
    const found = pending.subarray(0, this.#pendingLength).indexOf(end, Math.max(0, before - end.length + 1));
    if (found === -1) {
      if (this.#pendingLength >= MAX_HEADER_BYTES) bad("the headers are too large");
      // A server that ends lines otherwise would never end its head for us, and be waited for.
      for (let i = Math.max(1, before); i < this.#pendingLength; i++) {
        if (pending[i] === LF && pending[i - 1] !== CR) bad("a line ends without CR");
      }
      return undefined;
    }
    this.#pendingLength = found + end.length;
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

type ParsedHead = Omit<ResponseHead, "framing">;

const checkStart = (bytes: Buffer, start: number, length: number): void => {
  for (let i = 0; i < length; i++) if (bytes[start + i] !== VERSION_START[i]) bad("not HTTP/1");
};

/** `end`: of the last header's value, before the two line ends. */
const parseHead = (bytes: Buffer, start: number, end: number): ParsedHead => {
  checkStart(bytes, start, VERSION_START.length);
  let at = start + VERSION_START.length;
  const minor = (bytes[at] as number) - ZERO;
  if ((minor !== 0 && minor !== 1) || bytes[at + 1] !== SP) bad("not HTTP/1.1 nor HTTP/1.0");
  at += 2;
  let status = 0;
  for (const last = at + 3; at < last; at++) {
    const digit = (bytes[at] as number) - ZERO;
    if (!(digit >= 0 && digit <= 9)) bad("the status is no number");
    status = status * 10 + digit;
  }
  // RFC 9110 section 15: there is no other class of status.
  if (status < 100 || status > 599) bad("no such status");
  if (bytes[at] === SP) for (at++; TEXT[bytes[at] as number] === 1; at++);
  if (bytes[at] !== CR || bytes[at + 1] !== LF) bad("the status line is malformed");
  return { status, minor, headers: parseFields(bytes, at + 2, end + 2) };
};

/** Flat names and values of the lines from `at` to `end`, each with its line end. */
const parseFields = (bytes: Buffer, start: number, end: number): Buffer[] => {
  const fields: Buffer[] = [];
  for (let at = start; at < end; at += 2) {
    const name = at;
    while (TOKEN[bytes[at] as number] === 1) at++;
    const nameEnd = at;
    if (nameEnd === name || bytes[at] !== COLON) bad("a header's name is malformed");
    for (at++; bytes[at] === SP || bytes[at] === HTAB; at++);
    const value = at;
    while (TEXT[bytes[at] as number] === 1) at++;
    // Also where a value goes on in the next line (RFC 9112 section 5.2): that line has no name.
    if (bytes[at] !== CR || bytes[at + 1] !== LF) bad("a control character in a header");
    let valueEnd = at;
    while (valueEnd > value && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--;
    fields.push(bytes.subarray(name, nameEnd), bytes.subarray(value, valueEnd));
  }
  return fields;
};
