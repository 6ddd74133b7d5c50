/**
 * The response on its way to the agent: headers cleaned, body decoded and scrubbed, backpressure both ways, and an abort
 * on one side made an abort on the other. Never ends cleanly what the upstream did not end cleanly, and never sends on
 * what it could not search.
 */
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { HeaderList } from "../../../core/headers.ts";
import type { Coding } from "../../scrub/codings.ts";
import { BodyDecoder } from "../../scrub/decoders.ts";
import type { Matcher } from "../../scrub/matcher.ts";
import { searchedNow } from "../../scrub/redaction.ts";
import { createScrubber, type Scrubber } from "../../scrub/scrubber.ts";
import type { Flow, ResponseSink } from "../../upstream/upstream.ts";
import { HeldResponse } from "../held-response.ts";
import type { ClientResponse, Outcome, Recorded } from "../messages.ts";
import { reflectionPolicy } from "../reflection.ts";
import { decodedHeaders, type ResponseHead, responseHead } from "../response-headers.ts";
import type { Judge, Revocable, Verdict } from "../revocation.ts";
import type { Route } from "../route.ts";

/** Ruling 24: silence in the middle of a request's body. `ms` */
const BODY_IDLE_MS = 60_000;

/**
 * The head of a coded response waits for the first bytes of its body, so that broken data can still be refused; but an
 * agent may wait for the head before it does what the upstream waits for. `ms`
 */
const HEAD_WAIT_MS = 250;

/** Of a body that is withheld should it hold the credential; what follows is cut instead. `bytes` */
const WITHHELD_BYTES = 1024 * 1024;

/** Settles when the exchange is over; rejects when nothing of a response has reached the agent. */
export interface Settle {
  resolve(outcome: Outcome): void;
  /** `reflected`: as in `Outcome`. */
  reject(error: SidekeyError, reflected: number): void;
}

export class Relay implements ResponseSink, Revocable {
  /** As `Revocable` has it. */
  place = -1;
  #recorded: Recorded;
  readonly #client: ClientResponse;
  readonly #clock: Clock;
  readonly #settle: Settle;
  readonly #began: number;
  readonly #write: (chunk: Buffer) => void;
  #flow: Flow | undefined;
  #scrubber: Scrubber | undefined;
  /** Of its route's secrets: those that the scrubber knows. */
  #latest: Matcher | undefined;
  #decoder: BodyDecoder | undefined;
  #held: HeldResponse | undefined;
  #headTimer: NodeJS.Timeout | undefined;
  #status: number | undefined;
  #bytesUp = 0;
  #bytesDown = 0;
  #reflectedHeaders = 0;
  /** Of the body's reflections: how many were dealt with. */
  #judged = 0;
  #isCounted = false;
  #bodyTimer: NodeJS.Timeout | undefined;
  #paused = false;
  #settled = false;

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

  /** From here on it is the answer to this one: the same request, sent once more with a newer secret. */
  repeat(recorded: Recorded): void {
    this.#recorded = recorded;
  }

  begin(flow: Flow): void {
    this.#flow = flow;
    if (this.#settled) flow.abort();
  }

  head(status: number, raw: HeaderList, lines: Buffer): void {
    const { redaction } = this.#recorded.injected;
    const searched = redaction && searchedNow(redaction);
    const head = responseHead(raw, lines, searched, this.#route?.responseDrops);
    // A proxy's own challenge is not for the agent: it would answer with its proxy credentials (D5).
    if (head === undefined || status === 407) {
      this.#refuse(new SidekeyError("UPSTREAM_BAD_RESPONSE"));
      return;
    }
    this.#status = status;
    if (searched === undefined) this.#client.head(status, head.headers, head.contentLength);
    else this.#searchedHead(status, head, searched);
  }

  data(chunk: Buffer): void {
    if (this.#settled) return;
    if (this.#decoder !== undefined) this.#decoder.write(chunk);
    else this.#scrub(chunk);
  }

  end(): void {
    if (this.#settled) return;
    // Its connection may carry another exchange by now: nothing here may touch the flow any more.
    this.#flow = undefined;
    if (this.#decoder !== undefined) this.#decoder.end();
    else this.#complete();
  }

  fail(error: SidekeyError): void {
    if (!this.#settled) this.#giveUp(error);
  }

  get #route(): Route | undefined {
    return this.#recorded.injected.resolved.routed.route;
  }

  /** The head of a response that may hold the credential. */
  #searchedHead(status: number, head: ResponseHead, searched: Matcher): void {
    this.#reflectedHeaders = head.reflected;
    if (head.reflected > 0 && !this.#mayReflect()) return;
    const { method } = this.#recorded.injected.resolved.routed.identified.request;
    const { codings = [] } = head;
    const isCoded = codings.length > 0;
    const headers = isCoded ? decodedHeaders(head.headers) : head.headers;
    const length = isCoded ? undefined : head.contentLength;
    if (method === "HEAD" || status === 204 || status === 304) {
      this.#client.head(status, headers, length);
      return;
    }
    // Part of a coded body can't be decoded (RFC 9110 section 14.2: ranges are of the coded bytes).
    if (head.codings === undefined || (isCoded && status === 206)) {
      this.#refuse(new SidekeyError("UPSTREAM_UNDECODABLE", { detail: "unknown codings, or part of a coded body" }));
      return;
    }
    this.#latest = this.#recorded.injected.redaction?.line.latest;
    this.#scrubber = createScrubber(searched, {
      endsLinesWithCr: head.isEvents,
      ...(length !== undefined && { contentLength: length }),
    });
    if (isCoded) this.#decoder = this.#createDecoder(codings);
    const withholds = this.#route?.reflection.written === "withhold";
    if (!isCoded && !withholds) {
      this.#client.head(status, headers, length);
      return;
    }
    const held = new HeldResponse(this.#client, withholds ? WITHHELD_BYTES : 0);
    held.head(status, headers, length);
    this.#held = held;
    if (!withholds) this.#headTimer = setTimeout(() => held.release(), HEAD_WAIT_MS);
  }

  #createDecoder(codings: readonly Coding[]): BodyDecoder {
    return new BodyDecoder(codings, {
      begun: () => {
        if (this.#route?.reflection.written !== "withhold") this.#held?.release();
      },
      data: (chunk) => this.#scrub(chunk),
      end: () => this.#complete(),
      broken: (detail) => this.#giveUp(new SidekeyError("UPSTREAM_UNDECODABLE", { detail })),
      full: () => this.#flow?.pause(),
      drained: () => this.#flow?.resume(),
    });
  }

  #scrub(chunk: Buffer): void {
    const scrubber = this.#scrubber;
    if (scrubber === undefined) {
      this.#send(chunk);
      return;
    }
    const { redaction } = this.#recorded.injected;
    if (redaction !== undefined && redaction.line.latest !== this.#latest) {
      this.#latest = redaction.line.latest;
      scrubber.lookFor(searchedNow(redaction));
    }
    scrubber.push(chunk, this.#write);
  }

  /** The body is whole. */
  #complete(): void {
    this.#scrubber?.end(this.#write);
    if (this.#settled) return;
    this.#held?.release();
    this.#client.end();
    this.#finish("ok");
  }

  judge(judge: Judge): Verdict {
    return judge.exchange(this.#recorded.injected.resolved.routed);
  }

  revoke(error: SidekeyError): void {
    if (!this.#settled) this.#giveUp(error);
  }

  #send(chunk: Buffer): void {
    const reflected = this.#scrubber?.reflected ?? 0;
    if (reflected !== this.#judged) {
      this.#judged = reflected;
      if (!this.#mayReflect()) return;
    }
    if (this.#settled) return;
    this.#bytesDown += chunk.length;
    if ((this.#held ?? this.#client).write(chunk) || this.#paused) return;
    this.#paused = true;
    (this.#decoder ?? this.#flow)?.pause();
    this.#client.onDrain(() => {
      this.#paused = false;
      (this.#decoder ?? this.#flow)?.resume();
    });
  }

  /** The credential came back, and was taken out: whether the rest may go to the agent. If not, the exchange is over. */
  #mayReflect(): boolean {
    const { reflection } = this.#route ?? {};
    if (reflection === undefined || this.#settled) return !this.#settled;
    const policy = reflectionPolicy(reflection, this.#recorded.injected.resolved.secrets);
    if (policy === "redact") return true;
    if (policy === "close") {
      const isCounted = this.#isCounted;
      this.#isCounted = true;
      if (isCounted || reflection.limit.note(this.#clock.monotonic())) return true;
    }
    this.#giveUp(new SidekeyError("UPSTREAM_REFLECTED"));
    return false;
  }

  /** The response can't be sent, or not to its end. */
  #giveUp(error: SidekeyError): void {
    if (!this.#client.started) {
      this.#refuse(error);
      return;
    }
    this.#flow?.abort();
    this.#client.abort();
    this.#finish("upstream_aborted", error);
  }

  /** Ends the exchange before a head was sent: the rescue layer answers. */
  #refuse(error: SidekeyError): void {
    if (this.#settled) return;
    this.#close();
    this.#flow?.abort();
    this.#settle.reject(error, this.#reflected);
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

  get #reflected(): number {
    return this.#reflectedHeaders + (this.#scrubber?.reflected ?? 0);
  }

  #close(): void {
    this.#settled = true;
    clearTimeout(this.#bodyTimer);
    clearTimeout(this.#headTimer);
    this.#decoder?.destroy();
  }

  #finish(outcome: Outcome["outcome"], error?: SidekeyError): void {
    this.#close();
    this.#settle.resolve({
      outcome,
      code: error?.code,
      status: this.#status,
      bytesUp: this.#bytesUp,
      bytesDown: this.#bytesDown,
      upstreamMs: this.#clock.monotonic() - this.#began,
      reflected: this.#reflected,
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
