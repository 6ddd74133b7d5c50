/**
 * The vault's events as they happen, over one connection that is made again when it is lost. What cannot be understood or
 * may have been missed is told as `reset`: whoever keeps copies asks for all of them again. Must never go quiet: a
 * connection on which nothing comes is a lost one.
 */
import * as z from "zod";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { BadAnswerError, NetworkError, RateLimitError, UnavailableError, type VaultClientError } from "./errors.ts";
import { backoff, type RetryPolicy } from "./transport/retry.ts";
import { createEventParser, type ServerEvent } from "./transport/sse.ts";
import type { WireStream } from "./transport/wire.ts";

export type VaultEvent =
  /** The stream stands; what happens from now on is told. */
  | {
      readonly type: "ready";
      readonly generation: number | undefined;
      /** It says something at least so often; undefined: every 5 s. `ms` */
      readonly beatMs?: number;
    }
  /** Something changed, and nobody can say what. */
  | { readonly type: "reset" }
  | { readonly type: "secret.updated" | "secret.deleted"; readonly path: string; readonly version: number | undefined }
  | { readonly type: "token.revoked"; readonly id: string }
  | { readonly type: "sidecar.revoked"; readonly jkt: string }
  /** The stream is gone, and is being made again. */
  | { readonly type: "lost"; readonly error: VaultClientError };

export interface EventsRequest {
  /** In place of the client's own; a function is asked for each connection. */
  readonly token?: string | (() => string);
  /** Where an earlier stream ended: the vault tells what came after it. */
  readonly lastEventId?: string;
  /** A connection on which nothing came for so long is lost. `ms` */
  readonly idleMs?: number;
  /** Called whenever anything came at all. */
  readonly alive?: () => void;
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
}

const IDLE_MS = 12_000;
const ID = /^\d{1,16}$/;

const readySchema = z.object({
  generation: z.int().min(0).optional().catch(undefined),
  beat_ms: z.int().min(1).max(60_000).optional().catch(undefined),
});
const secretSchema = z.object({ path: z.string().min(1).max(1024), version: z.int().min(0).optional() });
const tokenSchema = z
  .object({ id: z.string().min(1).max(256).optional(), jti: z.string().min(1).max(256).optional() })
  .transform(({ id, jti }) => id ?? jti);
const sidecarSchema = z.object({ jkt: z.string().min(1).max(256) });

/**
 * Ends when the signal says so. Errors: CLIENT_UNAUTHORIZED, CLIENT_SCOPE_DENIED and what else no repetition mends: the
 * token has ended, say.
 */
export async function* vaultEvents(
  calls: Calls,
  credentials: Pick<Credentials, "proved">,
  retry: RetryPolicy,
  { token, lastEventId, idleMs = IDLE_MS, alive = () => {}, signal }: EventsRequest,
): AsyncGenerator<VaultEvent, void, undefined> {
  const place = createPlace(lastEventId);
  const isOver = (): boolean => signal?.aborted === true;
  for (let failures = 0; !isOver(); ) {
    try {
      const credential = credentials.proved(typeof token === "function" ? token() : token);
      const headers = { "last-event-id": place.resumeAt() };
      const call = { method: "GET", path: "/v1/events", credential, headers, repeatable: true, signal } as const;
      const answer = await calls.stream(call);
      for await (const event of readEvents(answer, place, idleMs, alive)) {
        failures = 0;
        yield event;
      }
      throw new NetworkError({ detail: "The vault ended the stream of events.", sent: true });
    } catch (error) {
      if (isOver()) return;
      if (!isPassing(error)) throw error;
      yield { type: "lost", error };
      await retry.pause(pauseAfter(error, failures, retry), signal).catch(() => undefined);
      failures += 1;
    }
  }
}

/** Mended by time and another connection. */
const isPassing = (error: unknown): error is VaultClientError =>
  error instanceof NetworkError || error instanceof UnavailableError || error instanceof RateLimitError;

/** The vault's own wish is heeded, up to half a minute: a stream that is away costs its owner on every request. */
const pauseAfter = ({ retryAfter = 0 }: VaultClientError, failures: number, { random }: RetryPolicy): number =>
  backoff(failures, random) + Math.min(retryAfter, 30) * 1000;

/**
 * Up to where everything was told. Several events may share one id, and a connection may end between them; so an id
 * counts only once something else came behind it. An event told twice harms nobody.
 */
interface Place {
  saw(id: string | undefined): void;
  /** The vault has nothing more to say just now. */
  settle(): void;
  resumeAt(): string | undefined;
}

const createPlace = (first: string | undefined): Place => {
  let told = first !== undefined && ID.test(first) ? first : undefined;
  let current = told;
  return {
    saw(id) {
      if (id === undefined || !ID.test(id) || id === current) return;
      told = current ?? id;
      current = id;
    },
    settle() {
      told = current;
    },
    resumeAt: () => told,
  };
};

async function* readEvents(
  answer: WireStream,
  place: Place,
  idleMs: number,
  alive: () => void,
): AsyncGenerator<VaultEvent> {
  const { stream, header } = answer;
  const silence = setTimeout(() => stream.destroy(), idleMs);
  try {
    if (!/^text\/event-stream\s*(?:;|$)/i.test(header("content-type") ?? "")) {
      throw new BadAnswerError({ detail: "What was to be the stream of events is none." });
    }
    const parser = createEventParser();
    for await (const chunk of stream) {
      silence.refresh();
      alive();
      for (const piece of parser.push(chunk)) {
        if (piece === "comment") {
          place.settle();
          continue;
        }
        place.saw(piece.id);
        const event = toVaultEvent(piece);
        if (event?.type === "ready" || event?.type === "reset") place.settle();
        if (event !== undefined) yield event;
      }
    }
  } catch (error) {
    if (error instanceof NetworkError) throw error;
    if (error instanceof RangeError) {
      throw new BadAnswerError({ detail: `The stream of events cannot be read: ${error.message}.` });
    }
    // How the connection ended does not matter, nor what the system says of it.
    throw new NetworkError({ detail: "The stream of events broke.", sent: true });
  } finally {
    clearTimeout(silence);
    stream.destroy();
  }
}

/** Undefined for a kind that this version does not know. */
const toVaultEvent = ({ type, data }: ServerEvent): VaultEvent | undefined => {
  switch (type) {
    case "ready":
      return readyOf(parse(readySchema, data));
    case "reset":
      return { type };
    case "secret.updated":
    case "secret.deleted": {
      const secret = parse(secretSchema, data);
      return secret === undefined ? { type: "reset" } : { type, path: secret.path, version: secret.version };
    }
    case "token.revoked": {
      const id = parse(tokenSchema, data);
      return id === undefined ? { type: "reset" } : { type, id };
    }
    case "sidecar.revoked": {
      const sidecar = parse(sidecarSchema, data);
      return sidecar === undefined ? { type: "reset" } : { type, jkt: sidecar.jkt };
    }
    default:
      return undefined;
  }
};

const readyOf = ({ generation, beat_ms: beatMs }: z.output<typeof readySchema> = {}): VaultEvent => ({
  type: "ready",
  generation,
  ...(beatMs !== undefined && { beatMs }),
});

const parse = <T>(schema: z.ZodType<T>, data: string): T | undefined => {
  try {
    return schema.safeParse(JSON.parse(data)).data;
  } catch {
    return undefined;
  }
};
