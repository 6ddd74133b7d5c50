/** Responses of HTTP/1.1 as an upstream sends them. */
import { SidekeyError } from "../../core/errors.ts";
import { CR, LF, SP, TEXT, ZERO } from "../../core/http-syntax.ts";
import { type BodyFraming, MessageParser } from "../net/message-parser.ts";
import { bodyFraming, type ResponseHead } from "./response-framing.ts";

export interface ResponseReceiver {
  /** Of any status, informational ones too. */
  head(head: ResponseHead): void;
  data(chunk: Buffer): void;
  /** The response is complete. `surplus`: bytes that belong to nothing follow it. */
  end(surplus: boolean): void;
}

const RULES = { sizeDigits: 13, extensions: Number.POSITIVE_INFINITY, cutsTabs: true };

const VERSION_START = Buffer.from("HTTP/1.");

/** Every method throws UPSTREAM_BAD_RESPONSE for what is not HTTP, and must not be called again afterwards. */
export class ResponseParser extends MessageParser {
  readonly #receiver: ResponseReceiver;
  #method = "";

  constructor(receiver: ResponseReceiver) {
    super(RULES);
    this.#receiver = receiver;
  }

  /** The next response answers a request of this method. */
  begin(method: string): void {
    this.#method = method;
    this.expectHead();
  }

  /** False: the bytes belong to no response. */
  execute(chunk: Buffer): boolean {
    for (let at = 0; at < chunk.length; ) {
      if (this.isIdle) return false;
      at = this.read(chunk, at);
    }
    return true;
  }

  protected override head(bytes: Buffer, start: number, end: number): BodyFraming | undefined {
    this.#checkStart(bytes, start, VERSION_START.length);
    let at = start + VERSION_START.length;
    const minor = (bytes[at] as number) - ZERO;
    if ((minor !== 0 && minor !== 1) || bytes[at + 1] !== SP) this.malformed("not HTTP/1.1 nor HTTP/1.0");
    at += 2;
    let status = 0;
    for (const last = at + 3; at < last; at++) {
      const digit = (bytes[at] as number) - ZERO;
      if (!(digit >= 0 && digit <= 9)) this.malformed("the status is no number");
      status = status * 10 + digit;
    }
    // RFC 9110 section 15: there is no other class of status.
    if (status < 100 || status > 599) this.malformed("no such status");
    if (bytes[at] === SP) for (at++; TEXT[bytes[at] as number] === 1; at++);
    if (bytes[at] !== CR || bytes[at + 1] !== LF) this.malformed("the status line is malformed");
    const headers = this.fields(bytes, at + 2, end + 2);
    const framing = bodyFraming(status, headers, this.#method);
    if (framing === undefined) return this.malformed("ambiguous framing");
    this.#receiver.head({ status, minor, headers, lines: bytes.subarray(at + 2, end + 2), framing });
    return status < 200 ? undefined : framing;
  }

  protected override checkBeginning(bytes: Buffer, _from: number, length: number): void {
    this.#checkStart(bytes, 0, Math.min(VERSION_START.length, length));
  }

  protected override data(chunk: Buffer): void {
    this.#receiver.data(chunk);
  }

  protected override complete(surplus: boolean): void {
    this.#receiver.end(surplus);
  }

  protected override malformed(detail: string): never {
    throw new SidekeyError("UPSTREAM_BAD_RESPONSE", { detail });
  }

  protected override tooLarge(detail: string): never {
    this.malformed(detail);
  }

  #checkStart(bytes: Buffer, start: number, length: number): void {
    for (let i = 0; i < length; i++) if (bytes[start + i] !== VERSION_START[i]) this.malformed("not HTTP/1");
  }
}
