/**
 * A tunnel through the operator's HTTP proxy (`upstream.proxy`): CONNECT and a strict look at the answer. Whatever is
 * not a plain 200 is a failure, and nothing of it reaches the agent: a 407 is between the proxy and the operator.
 */
import type { Socket } from "node:net";
import type { Authority } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import { isHeaderName } from "../../core/headers.ts";

export interface UpstreamProxy {
  readonly authority: Authority;
  /** Value of Proxy-Authorization; sent to the proxy alone. */
  readonly authorization: string | undefined;
  /** What goes around it, in the words of NO_PROXY. Default nothing. */
  readonly exceptions?: string;
}

/** Of the answer's head. `bytes` */
const MAX_HEAD = 16 * 1024;

const STATUS_LINE = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Status of an answer's head (latin1, without the empty line at its end); undefined when it is no HTTP. */
export const tunnelStatus = (head: string): number | undefined => {
  const [statusLine = "", ...fields] = head.split("\r\n");
  const status = STATUS_LINE.exec(statusLine)?.[1];
  const sound = fields.every((field) => {
    const colon = field.indexOf(":");
    return colon > 0 && isHeaderName(field.slice(0, colon)) && FIELD_VALUE.test(field.slice(colon + 1));
  });
  return status === undefined || !sound ? undefined : Number(status);
};

export interface TunnelRequest {
  readonly proxy: UpstreamProxy;
  /** Where the tunnel leads. */
  readonly to: Authority;
  /** The other end may send before it was sent anything; in HTTP and TLS it never does. */
  readonly mayBegin: boolean;
}

/**
 * Asks the proxy at the other end of `socket` for a tunnel. Calls back once; afterwards the socket is paused and carries
 * the tunnel's bytes. UPSTREAM_UNREACHABLE for every answer but a plain 200.
 */
export const openProxyTunnel = (
  socket: Socket,
  { proxy, to, mayBegin }: TunnelRequest,
  done: (error: SidekeyError | null) => void,
): void => {
  let received: Buffer = Buffer.alloc(0);
  const settle = (error: SidekeyError | null): void => {
    socket.off("data", onData).off("end", onEnd).off("error", onEnd).off("close", onEnd);
    if (error === null) socket.pause();
    else socket.on("error", () => undefined).destroy();
    done(error);
  };
  const refuse = (why: string): void => {
    const detail = `${to.key} by the proxy ${proxy.authority.key} (${why})`;
    settle(new SidekeyError("UPSTREAM_UNREACHABLE", { detail }));
  };
  const onEnd = (): void => refuse("it closed the connection");
  const onData = (chunk: Buffer): void => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    const end = received.indexOf("\r\n\r\n");
    if (end === -1 ? received.length > MAX_HEAD : end > MAX_HEAD) refuse("its answer is too long");
    else if (end !== -1) judge(received.toString("latin1", 0, end), received.subarray(end + 4));
  };
  /** RFC 9110 section 9.3.6: what follows the head comes from the other end of the tunnel. */
  const judge = (head: string, rest: Buffer): void => {
    const status = tunnelStatus(head);
    if (status === undefined) refuse("its answer is not HTTP");
    else if (status !== 200) refuse(`it answered ${status}`);
    else if (rest.length > 0 && !mayBegin) refuse("bytes follow its answer");
    else {
      socket.off("data", onData);
      if (rest.length > 0) socket.unshift(rest);
      settle(null);
    }
  };
  socket.on("data", onData).on("end", onEnd).on("error", onEnd).on("close", onEnd);
  const { authorization } = proxy;
  socket.write(
    `CONNECT ${to.key} HTTP/1.1\r\nHost: ${to.key}\r\n${
      authorization === undefined ? "" : `Proxy-Authorization: ${authorization}\r\n`
    }\r\n`,
    "latin1",
  );
};
