/**
 * The answer to a request's first attempt on its way to the relay. A 401 is held back until its secret has been asked for
 * past the cache; with a newer one the request is sent once more, and with none the 401 goes on as it is (ruling 6). Must
 * never send anything a third time, and nothing of which not everything is known.
 */
import { type SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { HeaderList } from "../../core/headers.ts";
import type { Flow, ResponseSink } from "../upstream/upstream.ts";
import type { Recorded, RequestBody } from "./messages.ts";
import type { ReplayBuffer } from "./replay-buffer.ts";

const UNAUTHORIZED = 401;

/** Where the answer goes that the agent gets. */
export interface AnswerSink extends ResponseSink {
  /** The agent has left, or has its answer. */
  readonly over: boolean;
  /** What comes from here on answers this one. */
  repeat(recorded: Recorded): void;
}

/** How a request is sent once more. */
export interface SecondAttempt {
  /** With a newer secret and on record; undefined: it stays with the first. Never rejects. */
  prepare(): Promise<Recorded | undefined>;
  /** The first one's answer was dropped: `bytesDown` of it had come. */
  begin(second: Recorded, bytesDown: number): void;
  /** It is on record, and nobody waits for it any more. */
  abandon(second: Recorded): void;
  send(second: Recorded, body: RequestBody | undefined, sink: ResponseSink): void;
}

interface Held {
  readonly headers: HeaderList;
  readonly lines: Buffer;
  readonly chunks: Buffer[];
  /** What came after them. */
  last: "end" | SidekeyError | undefined;
}

export class FirstAttempt implements ResponseSink {
  readonly #answer: AnswerSink;
  readonly #replay: ReplayBuffer;
  readonly #second: () => SecondAttempt;
  #flow: Flow | undefined;
  #held: Held | undefined;

  /** `second`: called at a 401, which is rare. */
  constructor(answer: AnswerSink, replay: ReplayBuffer, second: () => SecondAttempt) {
    this.#answer = answer;
    this.#replay = replay;
    this.#second = second;
  }

  begin(flow: Flow): void {
    this.#flow = flow;
    this.#answer.begin(flow);
  }

  head(status: number, headers: HeaderList, lines: Buffer): void {
    if (status !== UNAUTHORIZED || !this.#replay.isWhole || this.#answer.over) {
      this.#replay.release();
      this.#answer.head(status, headers, lines);
      return;
    }
    this.#held = { headers, lines, chunks: [], last: undefined };
    // What has arrived already still comes, and is all that is ever held.
    this.#flow?.pause();
    this.#decide(this.#held).catch((thrown: unknown) => this.#answer.fail(toSidekeyError(thrown)));
  }

  data(chunk: Buffer): void {
    if (this.#held === undefined) this.#answer.data(chunk);
    else this.#held.chunks.push(chunk);
  }

  end(): void {
    if (this.#held === undefined) this.#answer.end();
    else this.#held.last = "end";
  }

  fail(error: SidekeyError): void {
    if (this.#held === undefined) this.#answer.fail(error);
    else this.#held.last = error;
  }

  async #decide(held: Held): Promise<void> {
    const again = this.#second();
    const recorded = await again.prepare();
    if (recorded === undefined) {
      this.#letGo(held);
      return;
    }
    if (this.#answer.over) {
      again.abandon(recorded);
      return;
    }
    this.#flow?.abort();
    again.begin(
      recorded,
      held.chunks.reduce((sum, { length }) => sum + length, 0),
    );
    this.#answer.repeat(recorded);
    again.send(recorded, this.#replay.body(), this.#answer);
  }

  #letGo({ headers, lines, chunks, last }: Held): void {
    this.#held = undefined;
    this.#replay.release();
    if (this.#answer.over) return;
    // The answer may pause it again.
    this.#flow?.resume();
    this.#answer.head(UNAUTHORIZED, headers, lines);
    for (const chunk of chunks) this.#answer.data(chunk);
    if (last === "end") this.#answer.end();
    else if (last !== undefined) this.#answer.fail(last);
  }
}
