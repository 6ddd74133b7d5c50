/**
 * The response on its way to the agent: headers cleaned, body scrubbed, backpressure both ways, and an abort on one
 * side made an abort on the other. Never ends cleanly what the upstream did not end cleanly.
 */
import type { Clock } from "../../../core/clock.ts";
import { type ErrorCode, SidekeyError } from "../../../core/errors.ts";
import { createScrubber, type Scrubber } from "../../scrub/scrubber.ts";
import type { Flow, ResponseSink } from "../../upstream/upstream.ts";
import type { ClientResponse, Outcome, Recorded } from "../messages.ts";
import { responseHead } from "../response-headers.ts";
import type { Judge, Revocable, Verdict } from "../revocation.ts";

/** Ruling 24: silence in the middle of a request's body. `ms` */
const BODY_IDLE_MS = 60_000;

/** Settles when the exchange is over; rejects when nothing of a response has reached the agent. */
export type Settle = { resolve(outcome: Outcome): void; reject(error: SidekeyError): void };

export class Relay implements ResponseSink, Revocable {
  readonly #recorded: Recorded;
  readonly #client: ClientResponse;
  readonly #clock: Clock;
  readonly #settle: Settle;
  readonly #began: number;
  readonly #write: (chunk: Buffer) => void;
  #flow: Flow | undefined;
  #scrubber: Scrubber | undefined;
  #status: number | undefined;
  #bytesUp = 0;
  #bytesDown = 0;
  #reflectedHeaders = 0;
  #bodyTimer: NodeJS.Timeout | undefined;
  #paused = false;
  #settled = false;
  /** Why we ended it ourselves. */
  #code: ErrorCode | undefined;

  constructor(recorded: Recorded, client: ClientResponse, clock: Clock, settle: Settle) {
    this.#recorded = recorded;
    this.#client = client;
    this.#clock = clock;
    this.#settle = settle;
    this.#began = clock.monotonic();
    this.#write = (chunk) => this.#send(chunk);
    client.onClose(() => this.#clientGone());
    this.#watchBody();
    // It may have left while the secret was fetched; then no close event comes any more.
    if (!client.open) this.#clientGone();
  }

  /** Nothing is left to send: the agent had gone before the exchange began. */
  get over(): boolean {
    return this.#settled;
  }

  begin(flow: Flow): void {
    this.#flow = flow;
    if (this.#settled) flow.abort();
  }

  head(status: number, raw: readonly Buffer[]): void {
    const { redaction, resolved } = this.#recorded.injected;
    const head = responseHead(raw, redaction);
    // A proxy's own challenge is not for the agent: it would answer with its proxy credentials (D5).
    if (head === undefined || status === 407) {
      this.#refuse(new SidekeyError("UPSTREAM_BAD_RESPONSE"));
      return;
    }
    const { method } = resolved.routed.identified.request;
    const bodyless = method === "HEAD" || status === 204 || status === 304;
    if (redaction !== undefined && !bodyless) {
      if (head.encoding !== "" && head.encoding !== "identity") {
        this.#refuse(new SidekeyError("UPSTREAM_UNDECODABLE"));
        return;
      }
      this.#scrubber = createScrubber(
        redaction,
        head.contentLength === undefined ? {} : { contentLength: head.contentLength },
      );
    }
    this.#reflectedHeaders = head.reflected;
    this.#status = status;
    this.#client.head(status, head.headers, head.contentLength);
  }

  data(chunk: Buffer): void {
    if (this.#settled) return;
    if (this.#scrubber === undefined) this.#send(chunk);
    else this.#scrubber.push(chunk, this.#write);
  }

  end(): void {
    if (this.#settled) return;
    this.#scrubber?.end(this.#write);
    this.#client.end();
    this.#finish("ok");
  }

  fail(error: SidekeyError): void {
    if (this.#settled) return;
    if (this.#client.started) {
      this.#client.abort();
      this.#finish("upstream_aborted");
    } else {
      this.#refuse(error);
    }
  }

  judge(judge: Judge): Verdict {
    return judge.exchange(this.#recorded.injected.resolved.routed);
  }

  revoke(error: SidekeyError): void {
    if (this.#settled) return;
    this.#code = error.code;
    this.#flow?.abort();
    this.fail(error);
  }

  #send(chunk: Buffer): void {
    this.#bytesDown += chunk.length;
    if (this.#client.write(chunk) || this.#paused) return;
    this.#paused = true;
    this.#flow?.pause();
    this.#client.onDrain(() => {
      this.#paused = false;
      this.#flow?.resume();
    });
  }

  /** Ends the exchange before a head was sent: the rescue layer answers. */
  #refuse(error: SidekeyError): void {
    if (this.#settled) return;
    this.#settled = true;
    clearTimeout(this.#bodyTimer);
    this.#flow?.abort();
    this.#settle.reject(error);
  }

  #bodyStalled(): void {
    if (this.#settled) return;
    if (!this.#client.started) {
      this.#refuse(new SidekeyError("INGRESS_TIMEOUT"));
      return;
    }
    this.#flow?.abort();
    this.#client.abort();
    this.#finish("client_aborted");
  }

  #clientGone(): void {
    if (this.#settled) return;
    this.#flow?.abort();
    this.#finish("client_aborted");
  }

  #finish(outcome: Outcome["outcome"]): void {
    this.#settled = true;
    clearTimeout(this.#bodyTimer);
    this.#settle.resolve({
      outcome,
      code: this.#code,
      status: this.#status,
      bytesUp: this.#bytesUp,
      bytesDown: this.#bytesDown,
      upstreamMs: this.#clock.monotonic() - this.#began,
      reflected: this.#reflectedHeaders + (this.#scrubber?.reflected ?? 0),
    });
  }

  #watchBody(): void {
    const { body } = this.#recorded.injected.resolved.routed.identified.request;
    if (body === undefined) return;
    const { stream } = body;
    const timer = setTimeout(() => {
      // Paused, it waits for the upstream and not for the agent.
      if (stream.isPaused()) timer.refresh();
      else this.#bodyStalled();
    }, BODY_IDLE_MS);
    this.#bodyTimer = timer;
    stream.on("data", (chunk: Buffer) => {
      this.#bytesUp += chunk.length;
      timer.refresh();
    });
    stream.once("end", () => clearTimeout(timer));
    // A data listener starts the flow; the upstream client resumes it when it can write.
    stream.pause();
  }
}
