/**
 * One listener's stream (text/event-stream): changes that its token covers, a sign of life when there are none, and an end
 * with its token. Holds no value. A reader that does not read is dropped: it comes back and asks since its last event.
 */
import type { ServerResponse } from "node:http";
import type { Clock } from "../../core/clock.ts";
import type { ChangesOf, VaultChange } from "../index.ts";
import { covers, type TokenPrincipal } from "./callers/principal.ts";
import type { EventHub, Listener, Subscription } from "./event-hub.ts";

export interface EventStreamOptions {
  readonly principal: TokenPrincipal;
  readonly hub: EventHub;
  readonly clock: Clock;
  /** What the reader has seen: its Last-Event-ID. */
  readonly since: number | undefined;
  /** Whether a token is one of the same agent's. */
  readonly isOfAgent: (tokenId: string) => Promise<boolean>;
  /** Whether the reader may still listen: its token and its key are good. Rejects where that cannot be told. */
  readonly isGood: () => Promise<boolean>;
  readonly ended: () => void;
}

/** A sign of life: who hears none for a second knows that it may have missed something. `ms` */
const BEAT_EVERY_MS = 500;
/** Whether the reader may still listen is looked up with one of them. `ms` */
const LOOK_EVERY_MS = 5_000;
/** What a reader may leave unread. `bytes` */
const MAX_UNREAD = 256 * 1024;

interface WireEvent {
  readonly event: string;
  readonly data: object;
  /** It ends the stream. */
  readonly isLast?: true;
}

export interface EventStream {
  end(): void;
}

export const openEventStream = (response: ServerResponse, options: EventStreamOptions): EventStream => {
  const { principal, hub, clock, since, isOfAgent, isGood, ended } = options;
  const { token, proof } = principal;
  let subscription: Subscription | undefined;
  let isOver = false;
  /** One after the other: what is looked up for one must not let a later one past. */
  let queue = Promise.resolve();
  let lookedAt = clock.monotonic();
  /** No sign of life waits behind something else. */
  let isTold = true;

  const end = (): void => {
    if (isOver) return;
    isOver = true;
    clearInterval(timer);
    subscription?.end();
    response.end();
    ended();
  };

  const write = (text: string): void => {
    if (isOver) return;
    response.write(text);
    if (response.writableLength <= MAX_UNREAD) return;
    response.destroy();
    end();
  };

  const eventOf = async (change: VaultChange): Promise<WireEvent | undefined> => {
    switch (change.type) {
      case "token.revoked": {
        const { id } = change;
        if (id === token.id) return { event: change.type, data: { jti: id }, isLast: true };
        return (await isOfAgent(id)) ? { event: change.type, data: { jti: id } } : undefined;
      }
      case "sidecar.revoked":
        // Another agent may have enrolled this key as well, and taken back what was its own.
        if (change.jkt !== proof || (await isGood())) return undefined;
        return { event: change.type, data: { jkt: change.jkt }, isLast: true };
      default: {
        const { type, path, version } = change;
        return covers(principal, "use", path) || covers(principal, "read", path)
          ? { event: type, data: { path, version } }
          : undefined;
      }
    }
  };

  /** The id stands on the last event of a generation: whoever has seen it has seen all before. */
  const tell = async ({ generation, changes }: ChangesOf): Promise<void> => {
    const events: WireEvent[] = [];
    for (const change of changes) {
      const event = await eventOf(change);
      if (event !== undefined) events.push(event);
    }
    for (const [at, { event, data, isLast }] of events.entries()) {
      const id = at === events.length - 1 ? `id: ${generation}\n` : "";
      write(`${id}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      if (isLast === true) end();
    }
  };

  const then = (step: () => void | Promise<void>): void => {
    queue = queue.then(step).catch(end);
  };

  /** What took the right to listen away may have been told before this stream began to hear, or be forgotten already. */
  const look = async (): Promise<void> => {
    if (!isOver && !(await isGood())) end();
  };

  const listener: Listener = {
    changed(batch) {
      then(() => tell(batch));
    },
    reset(generation) {
      then(look);
      then(() => write(`id: ${generation}\nevent: reset\ndata: ${JSON.stringify({ generation })}\n\n`));
    },
    lost: end,
  };

  const timer = setInterval(() => {
    if (token.expiresAt <= clock.now()) return end();
    if (clock.monotonic() - lookedAt >= LOOK_EVERY_MS) {
      // Who hears that all is well must be somebody whom it is well for.
      lookedAt = clock.monotonic();
      then(look);
    }
    // Behind what is not told yet: as long as that hangs, all is not well.
    if (isTold) {
      isTold = false;
      then(() => {
        isTold = true;
        write(":\n\n");
      });
    }
  }, BEAT_EVERY_MS).unref();

  response.on("close", end);
  response.on("error", end);
  response.flushHeaders();
  hub
    .subscribe(listener, since)
    .then((opened) => {
      subscription = opened;
      if (isOver) opened.end();
      const { generation } = opened;
      then(look);
      then(() =>
        write(`id: ${generation}\nevent: ready\ndata: ${JSON.stringify({ generation, beat_ms: BEAT_EVERY_MS })}\n\n`),
      );
    })
    .catch(end);
  return { end };
};
