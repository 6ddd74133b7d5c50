/** Requests of HTTP/1.1 as an agent sends them. Who may be asked for what, and how a body ends, is judged elsewhere. */
import { type ErrorCode, SidekeyError } from "../../core/errors.ts";
import { CR, LF, SP, TEXT, TOKEN, ZERO } from "../../core/http-syntax.ts";
import { MAX_TARGET } from "../../core/limits.ts";
import { type BodyFraming, MessageParser } from "../net/message-parser.ts";

export interface RequestHead {
  readonly method: string;
  /** As sent: printable ASCII. */
  readonly target: string;
  /** Of HTTP/1. */
  readonly minor: number;
  /** Flat, as sent. One char per byte. */
  readonly headers: string[];
}

export interface RequestReceiver {
  /** Returns how its body ends. */
  head(head: RequestHead): BodyFraming;
  data(chunk: Buffer): void;
  end(): void;
}

/** Leading zeros of a size mean nothing, and some clients write them. */
const RULES = { sizeDigits: 64, extensions: 16 * 1024, cutsTabs: false };

/** What RFC 9110, WebDAV and their relatives register. Another word there is more likely the rest of a body. */
const METHODS: ReadonlySet<string> = new Set(
  (
    "ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY " +
    "OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SUBSCRIBE TRACE TRACK UNBIND UNLINK " +
    "UNLOCK UNSUBSCRIBE"
  ).split(" "),
);
const LONGEST_METHOD = Math.max(...[...METHODS].map((name) => name.length));

const NO_METHOD = "no method that is known";
const DOT = 46;
const VERSION_START = Buffer.from(" HTTP/");

/**
 * Throws INGRESS_BAD_REQUEST, INGRESS_VERSION, INGRESS_URI_TOO_LONG (of a head that is too large) or
 * INGRESS_HEADERS_TOO_LARGE, and what the receiver throws.
 */
export class RequestParser extends MessageParser {
  readonly #receiver: RequestReceiver;

  constructor(receiver: RequestReceiver) {
    super(RULES);
    this.#receiver = receiver;
  }

  /** Another request may come. */
  begin(): void {
    this.expectHead();
  }

  /** Empty lines before a request are skipped, by whichever end (RFC 9112 section 2.2): they belong to no message. */
  override read(chunk: Buffer, from: number): number {
    const at = this.expectsFirstByte ? skipEmptyLines(chunk, from) : from;
    return at === chunk.length ? at : super.read(chunk, at);
  }

  protected override head(bytes: Buffer, from: number, end: number): BodyFraming | undefined {
    const start = skipEmptyLines(bytes, from);
    // Nothing but empty lines, cut within one.
    if (start > end) return undefined;
    let at = start;
    while (TOKEN[bytes[at] as number] === 1) at++;
    const method = bytes.toString("latin1", start, at);
    if (bytes[at] !== SP || !METHODS.has(method)) this.malformed(NO_METHOD);
    const target = ++at;
    while (isVisible(bytes[at] as number)) at++;
    const targetEnd = at;
    if (targetEnd === target) this.malformed("no target");
    for (let i = 0; i < VERSION_START.length; i++) {
      if (bytes[at++] !== VERSION_START[i]) this.malformed("the request line is malformed");
    }
    const major = (bytes[at] as number) - ZERO;
    const minor = (bytes[at + 2] as number) - ZERO;
    if (!isDigit(major) || bytes[at + 1] !== DOT || !isDigit(minor) || bytes[at + 3] !== CR || bytes[at + 4] !== LF) {
      this.malformed("the version is malformed");
    }
    if (major !== 1 || minor > 1) throw new SidekeyError("INGRESS_VERSION");
    return this.#receiver.head({
      method,
      target: bytes.toString("latin1", target, targetEnd),
      minor,
      headers: this.fields(bytes, at + 5, end + 2),
    });
  }

  protected override checkBeginning(bytes: Buffer, from: number, length: number): void {
    if (from <= LONGEST_METHOD + 2) {
      const start = skipEmptyLines(bytes, 0);
      let at = start;
      while (at < length && TOKEN[bytes[at] as number] === 1) at++;
      const isWhole = at < length;
      if (at - start > LONGEST_METHOD || (isWhole && bytes[at] !== SP && bytes[at] !== CR)) this.malformed(NO_METHOD);
    }
    for (let at = from; at < length; at++) {
      const byte = bytes[at] as number;
      if (TEXT[byte] === 0 && byte !== CR && byte !== LF) this.malformed("a control character");
      if (bytes[at - 1] === CR && byte !== LF) this.malformed("a line ends without LF");
    }
  }

  protected override data(chunk: Buffer): void {
    this.#receiver.data(chunk);
  }

  protected override complete(): void {
    this.#receiver.end();
  }

  protected override malformed(detail: string): never {
    return this.#fail("INGRESS_BAD_REQUEST", detail);
  }

  protected override tooLarge(detail: string): never {
    return this.#fail("INGRESS_HEADERS_TOO_LARGE", detail);
  }

  /** Who sent a target that is too long on its own is told so: fewer headers would not help (RFC 9110 section 15.5.15). */
  protected override headTooLarge(bytes: Buffer, start: number, end: number): never {
    const method = skipEmptyLines(bytes, start);
    const space = bytes.indexOf(SP, method);
    if (METHODS.has(bytes.toString("latin1", method, Math.min(space, method + LONGEST_METHOD + 1)))) {
      let at = space + 1;
      while (at < end && isVisible(bytes[at] as number)) at++;
      if (at - space - 1 > MAX_TARGET) this.#fail("INGRESS_URI_TOO_LONG", "the target is too long");
    }
    return super.headTooLarge(bytes, start, end);
  }

  #fail(code: ErrorCode, detail: string): never {
    throw new SidekeyError(code, { detail });
  }
}

const skipEmptyLines = (bytes: Buffer, from: number): number => {
  let at = from;
  for (;;) {
    if (bytes[at] === LF) at += 1;
    else if (bytes[at] === CR && bytes[at + 1] === LF) at += 2;
    else return at;
  }
};

const isDigit = (value: number): boolean => value >= 0 && value <= 9;

/** What a target may hold; the rest of its grammar is `target.ts`'s. */
const isVisible = (byte: number): boolean => byte > SP && byte < 127;
