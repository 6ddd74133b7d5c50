/**
 * One POST of JSON to another system, signed as Standard Webhooks has it (`webhook-id`, `webhook-timestamp`,
 * `webhook-signature: v1,…` over `id.timestamp.body`). When it is sent, and whether again, is its owner's to say. Must
 * never carry a secret, follow a redirect, or speak cleartext beyond this machine.
 */
import { createHmac } from "node:crypto";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { parseHost } from "../../core/authority.ts";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { isLoopback, parsePeer } from "../../core/ip.ts";

export interface WebhookEvent {
  /** The same for every attempt, by which a receiver knows a repetition: the approval's id and what happened to it. */
  readonly id: string;
  /** `approval.requested` and the like. */
  readonly type: string;
  /** When it happened. */
  readonly at: EpochMs;
  readonly data: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
}

/** `fault`: in words without anything of the answer. `gone`: the receiver says for good that it wants no more of it. */
export type WebhookOutcome =
  | { readonly kind: "taken" }
  | { readonly kind: "failed" | "gone"; readonly fault: string }
  /** By the signal. */
  | { readonly kind: "ended" };

export interface Webhook {
  /** One attempt; the signal ends it. */
  attempt(event: WebhookEvent, signal: AbortSignal): Promise<WebhookOutcome>;
}

export interface WebhookOptions {
  /** As `webhookUrlFault` lets through. */
  readonly url: URL;
  /** As `parseWebhookSecret` gives it. */
  readonly secret: Buffer;
  readonly clock: Clock;
  /** For one attempt, from the connection to the end of the answer. `ms` */
  readonly timeoutMs?: number;
}

export const WEBHOOK_TIMEOUT_MS = 10_000;
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

export const createWebhook = ({ url, secret, clock, timeoutMs = WEBHOOK_TIMEOUT_MS }: WebhookOptions): Webhook => ({
  async attempt({ id, type, at, data }, signal) {
    const body = JSON.stringify({ type, timestamp: new Date(at).toISOString(), data });
    const timestamp = Math.floor(clock.now() / 1000);
    const headers = {
      "content-type": "application/json",
      "content-length": String(Buffer.byteLength(body)),
      "user-agent": "sidekey-vault",
      "webhook-id": id,
      "webhook-timestamp": String(timestamp),
      "webhook-signature": signWebhook(secret, { id, timestamp, body }),
    };
    const fault = await post(url, { headers, body, timeoutMs, signal });
    if (fault === undefined) return { kind: "taken" };
    if (signal.aborted) return { kind: "ended" };
    return { kind: fault === GONE ? "gone" : "failed", fault };
  },
});

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
