/**
 * Judges the head of a request before a secret is fetched or a socket opened: how its body ends, whom it is for, what is
 * to become of its connection (guarantees.md section 3, facts 1 to 6; RFC 9112 sections 3.2, 6.1 and 6.3).
 */
import { SidekeyError } from "../../core/errors.ts";
import { listedNames } from "../../core/headers.ts";
import { MAX_TARGET } from "../../core/limits.ts";
import type { RequestHead } from "./request-parser.ts";

export interface Framing {
  /** The one Host header; undefined in HTTP/1.0. */
  readonly host: string | undefined;
  /** Connection lists more than close and keep-alive. */
  readonly connection: string | undefined;
  /** Bytes; undefined = chunked; 0 = no body. */
  readonly bodyLength: number | undefined;
  /** X-Sidekey-Reason: why the agent asks, in its own words, for the audit alone (ruling 21). */
  readonly reason: string | undefined;
  /** The agent waits for 100 before it sends the body. */
  readonly expectsContinue: boolean;
  /**
   * No other request follows on the connection: in HTTP/1.0, when the agent says so, and when it offers to speak something
   * else, because it gets HTTP and may have switched.
   */
  readonly closes: boolean;
}

/** More than this many headers is nobody's request. */
const MAX_HEADERS = 200;
/** Of a reason, in characters. */
const MAX_REASON = 256;
const CONTENT_LENGTH = /^(?:0|[1-9][0-9]{0,15})$/;
const CLOSE = /(?:^|[\s,])close(?:$|[\s,])/i;
/** Names that frame or address a message can't be hop-by-hop. */
const NEVER_LISTED: ReadonlySet<string> = new Set(["host", "content-length", "transfer-encoding"]);

const bad = (detail: string): SidekeyError => new SidekeyError("INGRESS_BAD_REQUEST", { detail });

/** Throws INGRESS_* for anything that two parsers could read in two ways. */
export const judgeFraming = ({ headers, method, minor, target }: RequestHead): Framing => {
  if (method === "TRACE" || method === "TRACK") throw new SidekeyError("INGRESS_METHOD_REFUSED");
  if (headers.length > MAX_HEADERS * 2) throw new SidekeyError("INGRESS_HEADERS_TOO_LARGE");
  if (target.length > MAX_TARGET) throw new SidekeyError("INGRESS_URI_TOO_LONG");

  let host: string | undefined;
  let length: string | undefined;
  let coding: string | undefined;
  let expect: string | undefined;
  let connection: string | undefined;
  let reason: string | undefined;
  let upgrades = false;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    // By length first: nearly every header is none of these.
    switch (name.length) {
      case 4:
        if (name.toLowerCase() !== "host") break;
        if (host !== undefined) throw bad("two Host headers");
        host = value;
        break;
      case 6:
        if (name.toLowerCase() !== "expect") break;
        if (expect !== undefined) throw new SidekeyError("INGRESS_EXPECTATION");
        expect = value;
        break;
      case 7:
        if (name.toLowerCase() !== "upgrade") break;
        if (value.toLowerCase().includes("websocket")) throw new SidekeyError("INGRESS_UPGRADE_UNSUPPORTED");
        upgrades = true;
        break;
      case 10:
        if (name.toLowerCase() !== "connection") break;
        connection = connection === undefined ? value : `${connection},${value}`;
        break;
      case 14:
        if (name.toLowerCase() !== "content-length") break;
        if (length !== undefined) throw bad("two Content-Length headers");
        length = value;
        break;
      case 16:
        if (name.toLowerCase() !== "x-sidekey-reason") break;
        if (reason !== undefined) throw bad("two X-Sidekey-Reason headers");
        reason = judgeReason(value);
        break;
      case 17:
        if (name.toLowerCase() !== "transfer-encoding") break;
        if (coding !== undefined) throw bad("two Transfer-Encoding headers");
        coding = value;
        break;
    }
  }

  if (coding !== undefined) {
    if (length !== undefined) throw bad("Content-Length beside Transfer-Encoding");
    if (minor === 0) throw bad("Transfer-Encoding in HTTP/1.0");
    if (coding.toLowerCase() !== "chunked") throw bad("a Transfer-Encoding other than chunked");
  }
  // Past 2^53 a number is rounded, and another length would leave than came.
  if (length !== undefined && !(CONTENT_LENGTH.test(length) && Number.isSafeInteger(Number(length)))) {
    throw bad("a malformed Content-Length");
  }
  if (host === undefined && minor === 1) throw bad("no Host header");
  if (expect !== undefined && (expect.toLowerCase() !== "100-continue" || minor === 0)) {
    throw new SidekeyError("INGRESS_EXPECTATION");
  }
  return {
    host,
    connection: judgeConnection(connection),
    reason: reason === "" ? undefined : reason,
    bodyLength: coding !== undefined ? undefined : Number(length ?? "0"),
    expectsContinue: expect !== undefined,
    closes: minor === 0 || upgrades || (connection !== undefined && CLOSE.test(connection)),
  };
};

/** What goes on record whole or not at all: cut, or without its controls, it would say something else. */
const judgeReason = (value: string): string => {
  const text = Buffer.from(value, "latin1").toString("utf8");
  if (text.length > MAX_REASON) throw bad("X-Sidekey-Reason is longer than 256 characters");
  if (CONTROL.test(text)) throw bad("a control character in X-Sidekey-Reason");
  return text;
};

const CONTROL = /\p{Cc}/u;

const judgeConnection = (value: string | undefined): string | undefined => {
  if (value === undefined || value === "keep-alive" || value === "close") return undefined;
  const names = listedNames(value);
  for (const name of names) {
    if (NEVER_LISTED.has(name)) throw bad(`Connection lists ${name}`);
  }
  return names.every((name) => name === "keep-alive" || name === "close") ? undefined : value;
};
