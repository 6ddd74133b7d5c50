/** What the pipeline needs of an upstream client, whatever speaks HTTP below it. */
import type { Readable } from "node:stream";
import type { Authority } from "../../core/authority.ts";
import type { SidekeyError } from "../../core/errors.ts";
import type { HeaderList } from "../../core/headers.ts";
import type { Cleartext } from "../net/connector.ts";

export interface UpstreamRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  /** Host line, TLS name and pool come from this alone. */
  readonly authority: Authority;
  /** Path and query, sent as they are. */
  readonly target: string;
  /** Flat, without Host and framing. */
  readonly headers: string[];
  /** `length` undefined = chunked. */
  readonly body: { readonly stream: Readable; readonly length: number | undefined } | undefined;
  readonly cleartext: Cleartext;
  /** The operator wrote this IP literal in a pattern. */
  readonly written: boolean;
  /** `ms` each. */
  readonly timeouts: { readonly connectMs: number; readonly headersMs: number; readonly idleMs: number };
}

/** Flow of one response. */
export interface Flow {
  pause(): void;
  resume(): void;
  /** Gives the exchange up: the upstream's connection is destroyed. */
  abort(): void;
}

/** Receives one response: `head`, then any number of `data`, then `end`; or `fail` at any point, once, and nothing after. */
export interface ResponseSink {
  /** The exchange exists; before anything else. */
  begin(flow: Flow): void;
  /** `lines`: the very bytes that the headers came in. Never a 1xx. */
  head(status: number, headers: HeaderList, lines: Buffer): void;
  /** The chunk is the sink's own to keep or change. */
  data(chunk: Buffer): void;
  end(): void;
  /** UPSTREAM_*, TLS_UPSTREAM_UNTRUSTED or POLICY_*. */
  fail(error: SidekeyError): void;
}

export interface Upstream {
  send(request: UpstreamRequest, sink: ResponseSink): void;
  /** Keeps no connection any more; exchanges in flight go on to their end. */
  retire(): void;
  /** Some exchange is in flight. */
  readonly busy: boolean;
  /** Destroys every connection. */
  close(): Promise<void>;
}
