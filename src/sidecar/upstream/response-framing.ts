/**
 * How the body of a response ends, judged on its headers. The parser below decodes chunks behind any last `chunked`
 * (`Transfer-Encoding: gzip, chunked`) and reads `identity` until the connection closes; we read neither.
 */

/** By Content-Length, by chunks, or by the end of the connection. */
export type ResponseFraming = "length" | "chunked" | "close";

/** `headers`: flat, names and values as bytes. Undefined: two parsers could read it in two ways (RFC 9112 section 6.3). */
export const responseFraming = (headers: readonly Buffer[]): ResponseFraming | undefined => {
  let framing: ResponseFraming = "close";
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as Buffer;
    // By length first: nearly every header is neither.
    if (name.length === 14) {
      if (name.toString("latin1").toLowerCase() !== "content-length") continue;
      if (framing !== "close") return undefined;
      framing = "length";
    } else if (name.length === 17) {
      if (name.toString("latin1").toLowerCase() !== "transfer-encoding") continue;
      const coding = (headers[i + 1] as Buffer).toString("latin1");
      if (framing !== "close" || coding.toLowerCase() !== "chunked") return undefined;
      framing = "chunked";
    }
  }
  return framing;
};
