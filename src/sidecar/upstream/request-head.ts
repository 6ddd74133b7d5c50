/** The head of a request as it goes out: ours alone, since nothing of an agent's framing or Host may get into it. */
import { formatHost } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import { isHeaderName } from "../../core/headers.ts";
import type { UpstreamRequest } from "./upstream.ts";

const DEFAULT_PORTS = { http: 80, https: 443 } as const;

/** Anything else could end a line or the target. What comes here was judged before: a hit is a mistake of ours. */
const NO_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const NO_TARGET = /[^\x21-\x7e\x80-\xff]/;

/** Methods whose requests say so when they have no body (RFC 9110 section 8.6). */
const EXPECTS_BODY: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH", "QUERY", "PROPFIND", "PROPPATCH"]);

/** One char per byte. Errors: INTERNAL. */
export const requestHead = ({ method, scheme, authority, target, headers, body }: UpstreamRequest): string => {
  if (!isHeaderName(method) || NO_TARGET.test(target) || target === "") throw unfit("request line");
  const host = formatHost(authority.host);
  const port = authority.port === DEFAULT_PORTS[scheme] ? "" : `:${authority.port}`;
  let head = `${method} ${target} HTTP/1.1\r\nhost: ${host}${port}\r\nconnection: keep-alive\r\n`;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (!isHeaderName(name) || NO_VALUE.test(value)) throw unfit("header");
    head += `${name}: ${value}\r\n`;
  }
  if (body !== undefined) {
    head += body.length === undefined ? "transfer-encoding: chunked\r\n" : `content-length: ${body.length}\r\n`;
  } else if (EXPECTS_BODY.has(method)) head += "content-length: 0\r\n";
  return `${head}\r\n`;
};

/** Without the text: it may hold the credential. */
const unfit = (what: string): SidekeyError => new SidekeyError("INTERNAL", { detail: `a ${what} that can't be sent` });
