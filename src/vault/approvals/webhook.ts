/**
 * Tells another system what waits for an operator: a POST of JSON, signed as Standard Webhooks has it (`webhook-id`,
 * `webhook-timestamp`, `webhook-signature: v1,…` over `id.timestamp.body`). It goes out behind the request that caused it
 * and never holds one up; what cannot be delivered is logged and dropped, since the approval itself is in the store. Must
 * never carry a secret, follow a redirect, or speak cleartext beyond this machine.
 */
import { createHmac } from "node:crypto";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { parseHost } from "../../core/authority.ts";
import type { Clock } from "../../core/clock.ts";
import type { Closable } from "../../core/closer.ts";
import { isLoopback, parsePeer } from "../../core/ip.ts";
import type { Log } from "../../core/log.ts";

export interface WebhookEvent {
  /** The same for every attempt, by which a receiver knows a repetition: the approval's id and what happened to it. */
  readonly id: string;
  /** `approval.requested` and the like. */
  readonly type: string;
  readonly data: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
}

export interface Webhook extends Closable {
  /** Returns at once. */
  send(event: WebhookEvent): void;
  /** Of those that were sent: how many are still on their way. */
  pending(): number;
}

export interface WebhookOptions {
  /** As `webhookUrlFault` lets through. */
  readonly url: URL;
  /** As `parseWebhookSecret` gives it. */
  readonly secret: Buffer;
  readonly clock: Clock;
  readonly log: Log;
  /** From 0 up to, not including, 1. */
  readonly random?: () => number;
  /** Resolves after so many milliseconds, or early when the signal fires. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** For one attempt, from the connection to the end of the answer. `ms` */
  readonly timeoutMs?: number;
}

/** Beyond that, new ones are dropped: a receiver that is down must not fill the memory. */
export const MAX_QUEUED = 256;
/** Before the second attempt, and so on; after the last one it is given up. `ms` */
export const RETRY_AFTER_MS = [1_000, 5_000, 30_000, 120_000, 600_000] as const;
const TIMEOUT_MS = 10_000;
const AT_ONCE = 4;
const SECRET_PREFIX = "whsec_";
/** Standard Webhooks asks for 24 to 64. `bytes` */
const MIN_SECRET_BYTES = 24;

/** `whsec_` and base64, or a text whose bytes are the key; undefined when it is shorter than 24 bytes. */
export const parseWebhookSecret = (text: string): Buffer | undefined => {
  const encoded = text.startsWith(SECRET_PREFIX) ? text.slice(SECRET_PREFIX.length) : undefined;
  if (encoded !== undefined && !/^[A-Za-z0-9+/]+={0,2}$/.test(encoded)) return undefined;
  const key = encoded === undefined ? Buffer.from(text, "utf8") : Buffer.from(encoded, "base64");
  return key.length >= MIN_SECRET_BYTES ? key : undefined;
};

/** Why nothing is sent there, after `the webhook's URL`; undefined when all is well. */
export const webhookUrlFault = (text: string): string | undefined => {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return "is no URL";
  }
  if (url.username !== "" || url.password !== "") return "holds a user or a password";
  if (url.hash !== "") return "holds a fragment";
  if (url.protocol === "https:") return undefined;
  if (url.protocol !== "http:") return "is neither https nor http";
  return isThisMachine(url.hostname) ? undefined : "is cleartext http beyond this machine";
};

const isThisMachine = (hostname: string): boolean => {
  const host = parseHost(hostname);
  const address = host === undefined ? undefined : parsePeer(host.name);
  return address !== undefined && isLoopback(address);
};

/** `v1,` and the base64 of the HMAC-SHA256. `timestamp`: `s` */
export const signWebhook = (
  secret: Buffer,
  { id, timestamp, body }: { readonly id: string; readonly timestamp: number; readonly body: string },
): string => `v1,${createHmac("sha256", secret).update(`${id}.${timestamp}.${body}`).digest("base64")}`;

export const createWebhook = ({
  url,
  secret,
  clock,
  log,
  random = Math.random,
  wait = sleep,
  timeoutMs = TIMEOUT_MS,
}: WebhookOptions): Webhook => {
  const closing = new AbortController();
  const queue: { readonly event: WebhookEvent; readonly body: string }[] = [];
  const underWay = new Set<Promise<void>>();

  const attempt = async (id: string, body: string): Promise<string | undefined> => {
    const timestamp = Math.floor(clock.now() / 1000);
    const headers = {
      "content-type": "application/json",
      "content-length": String(Buffer.byteLength(body)),
      "user-agent": "sidekey-vault",
      "webhook-id": id,
      "webhook-timestamp": String(timestamp),
      "webhook-signature": signWebhook(secret, { id, timestamp, body }),
    };
    return post(url, { headers, body, timeoutMs, signal: closing.signal });
  };

  const deliver = async ({ event, body }: (typeof queue)[number]): Promise<void> => {
    const { id, type } = event;
    for (let tries = 1; !closing.signal.aborted; tries += 1) {
      const fault = await attempt(id, body);
      if (fault === undefined) return;
      const after = RETRY_AFTER_MS[tries - 1];
      if (closing.signal.aborted) break;
      if (after === undefined || fault === GONE) {
        log.error("a webhook was given up", { type, id, tries, fault });
        return;
      }
      log.warn("a webhook was not taken and is sent again", { type, id, tries, fault });
      // Half to one and a half of it, so that several processes don't come back together.
      await wait(Math.round(after * (0.5 + random())), closing.signal);
    }
  };

  const pump = (): void => {
    while (underWay.size < AT_ONCE && !closing.signal.aborted) {
      const next = queue.shift();
      if (next === undefined) return;
      const task = deliver(next)
        .catch((error: unknown) => log.error("a webhook failed", { id: next.event.id, cause: nameOf(error) }))
        .finally(() => {
          underWay.delete(task);
          pump();
        });
      underWay.add(task);
    }
  };

  return {
    send(event) {
      if (closing.signal.aborted) return;
      if (queue.length + underWay.size >= MAX_QUEUED) {
        log.error("a webhook was dropped: too many wait", { type: event.type, id: event.id });
        return;
      }
      const body = JSON.stringify({
        type: event.type,
        timestamp: new Date(clock.now()).toISOString(),
        data: event.data,
      });
      queue.push({ event, body });
      pump();
    },
    pending: () => queue.length + underWay.size,
    async close() {
      closing.abort();
      queue.length = 0;
      await Promise.all(underWay);
    },
  };
};

/** The receiver says for good that it wants no more of it. */
const GONE = "status 410";

/** What went wrong, in words without anything of the answer; undefined when it was taken. */
const post = (
  url: URL,
  options: {
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
  },
): Promise<string | undefined> =>
  new Promise((resolve) => {
    const send = url.protocol === "https:" ? httpsRequest : httpRequest;
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
    // No agent: what is kept open between two of them would be all that they share.
    const request = send(url, { method: "POST", headers: { ...options.headers }, agent: false, signal });
    request.on("error", (error) => resolve(signal.aborted ? "no answer in time" : nameOf(error)));
    request.once("response", (response) => {
      const { statusCode = 0 } = response;
      // Its status is all that counts; a redirect is a refusal like any other.
      response.destroy();
      resolve(statusCode >= 200 && statusCode < 300 ? undefined : `status ${statusCode}`);
    });
    request.end(options.body);
  });

const nameOf = (error: unknown): string => {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : "failed";
};

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    // It must not keep a process alive that has nothing else to do.
    timer.unref();
    signal.addEventListener("abort", done);
  });
