/** How the body of a response ends, and whether its connection may carry another, judged on its head. */

import type { HeaderList } from "../../core/headers.ts";
import type { BodyFraming } from "../net/message-parser.ts";

export interface ResponseHead {
  readonly status: number;
  /** Of HTTP/1. */
  readonly minor: number;
  readonly headers: HeaderList;
  /** The very lines that they came in. */
  readonly lines: Buffer;
  readonly framing: BodyFraming;
}

const NONE: BodyFraming = { kind: "none" };
const CHUNKED: BodyFraming = { kind: "chunked" };
const CLOSE: BodyFraming = { kind: "close" };

/** Past what a number can hold exactly it could not be counted. */
const LENGTH = /^(?:0|[1-9][0-9]{0,14})$/;

/** Undefined: two parsers could read it in two ways (RFC 9112 section 6.3). */
export const bodyFraming = (status: number, headers: HeaderList, method: string): BodyFraming | undefined => {
  let framing: BodyFraming = CLOSE;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    // By length first: nearly every header is neither.
    if (name.length === 14) {
      if (name.toLowerCase() !== "content-length") continue;
      const digits = headers[i + 1] as string;
      if (framing !== CLOSE || !LENGTH.test(digits)) return undefined;
      framing = { kind: "length", length: Number(digits) };
    } else if (name.length === 17) {
      if (name.toLowerCase() !== "transfer-encoding") continue;
      const coding = headers[i + 1] as string;
      if (framing !== CLOSE || coding.toLowerCase() !== "chunked") return undefined;
      framing = CHUNKED;
    }
  }
  return method === "HEAD" || status === 204 || status === 304 || status < 200 ? NONE : framing;
};

const TIMEOUT = /(?:^|[\s,;])timeout\s*=\s*"?([0-9]{1,9})/i;

/**
 * For how long the connection may be kept for another request, `ms`; 0 = not at all. `most`: longer than this never.
 * RFC 9112 section 9.3, and the Keep-Alive hint that common servers give.
 */
export const keepAliveMs = (
  { minor, headers, framing }: Pick<ResponseHead, "minor" | "headers" | "framing">,
  method: string,
  most: number,
): number => {
  // What a body that must not be there would look like, on a connection that was kept, nobody can tell.
  if (minor === 0 || framing.kind === "close" || method === "HEAD") return 0;
  let keep = most;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length !== 10 && !(framing.kind === "none" && (name.length === 14 || name.length === 17))) continue;
    const value = headers[i + 1] as string;
    switch (name.toLowerCase()) {
      case "connection":
        if (/(?:^|[\s,])close(?:$|[\s,])/i.test(value)) return 0;
        break;
      case "keep-alive": {
        const seconds = TIMEOUT.exec(value)?.[1];
        // A second less: it may close while the next request is on its way.
        if (seconds !== undefined) keep = Math.min(keep, Math.max(0, Number(seconds) - 1) * 1000);
        break;
      }
      case "content-length":
        if (value !== "0") return 0;
        break;
      case "transfer-encoding":
        return 0;
      default:
    }
  }
  return keep;
};
