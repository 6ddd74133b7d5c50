/**
 * A call to the vault's API: who asks, with what proof, how often, and what the answer must be. The one place where keys
 * and tokens are put on a request.
 */
import { randomUUID } from "node:crypto";
import type * as z from "zod";
import type { Clock } from "../core/clock.ts";
import { AuthError, type VaultClientError } from "./errors.ts";
import { createProof, type ProofKey } from "./proof.ts";
import { refusalOf } from "./refusal.ts";
import type { VaultAddress } from "./transport/address.ts";
import { parseAnswer, readText } from "./transport/json.ts";
import { type RetryPolicy, retrying } from "./transport/retry.ts";
import type { Wire, WireAnswer, WireRequest, WireStream } from "./transport/wire.ts";

/** How a call shows who asks. */
export type Credential =
  | { readonly kind: "none" }
  | { readonly kind: "bearer"; readonly secret: string }
  /** A token with a proof by the sidecar's key beside it (RFC 9449 section 7.1). */
  | { readonly kind: "proof"; readonly secret: string; readonly key: ProofKey };

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Encoded, from `/v1`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly credential: Credential;
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  /** To make it twice is as good as once. */
  readonly repeatable: boolean;
  /** A repetition is told apart from a second use (`Idempotency-Key`). */
  readonly once?: true;
  /** What it is about, for messages. */
  readonly what?: string | undefined;
  /** Values in the body, which no message may hold. */
  readonly sensitive?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

export interface Calls {
  /** The checked body of a success. Errors: all of errors.ts. */
  json<T>(call: Call, schema: z.ZodType<T>): Promise<T>;
  /** The body of a success as text of this media type. Errors: as `json`. */
  text(call: Call, mediaType: string): Promise<string>;
  /** Of a success whose body says nothing. Errors: as `json`. */
  nothing(call: Call): Promise<void>;
  /** One attempt, up to the head of a success. Errors: as `json`. */
  stream(call: Call): Promise<WireStream>;
}

export interface CallsParts {
  readonly wire: Wire;
  readonly address: VaultAddress;
  readonly retry: RetryPolicy;
  readonly clock: Pick<Clock, "now">;
}

const NONCE = /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/;

export const createCalls = ({ wire, address, retry, clock }: CallsParts): Calls => {
  /** The last the vault gave out (RFC 9449 section 8.2). */
  let nonce: string | undefined;

  const takeNonce = ({ header }: Pick<WireAnswer, "header">): void => {
    const given = header("dpop-nonce");
    if (given !== undefined && NONCE.test(given)) nonce = given;
  };

  const toRequest = (call: Call, idempotencyKey: string | undefined): WireRequest => {
    const { method, path, query, credential, headers = {}, body, repeatable, signal } = call;
    return {
      method,
      target: `${path}${queryText(query)}`,
      headers: {
        accept: "application/json",
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(idempotencyKey !== undefined && { "idempotency-key": idempotencyKey }),
        ...onlyGiven(headers),
        ...authorization(credential, method, `${address.origin}${path}`),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      fresh: !repeatable,
      signal,
    };
  };

  const authorization = (credential: Credential, method: string, url: string): Record<string, string> => {
    switch (credential.kind) {
      case "none":
        return {};
      case "bearer":
        return { authorization: `Bearer ${checked(credential.secret)}` };
      case "proof": {
        const token = checked(credential.secret);
        const proof = createProof({
          key: credential.key,
          method,
          url,
          token,
          now: clock.now(),
          ...(nonce !== undefined && { nonce }),
        });
        return { authorization: `DPoP ${token}`, dpop: proof };
      }
    }
  };

  const refusal = (answer: WireAnswer, { credential, what, sensitive = [] }: Call): VaultClientError =>
    refusalOf(answer, address.origin, what, [...(credential.kind === "none" ? [] : [credential.secret]), ...sensitive]);

  /** Once more when the vault gave a nonce to prove with: that is no failure, and no retry. */
  const withNonce = async <T extends Pick<WireAnswer, "status" | "header">>(
    call: Call,
    attempt: () => Promise<T>,
    discard: (answer: T) => void,
  ): Promise<T> => {
    const proved = nonce;
    const answer = await attempt();
    takeNonce(answer);
    // Of several calls at once each finds out for itself.
    if (answer.status !== 401 || nonce === proved || call.credential.kind !== "proof") return answer;
    discard(answer);
    const second = await attempt();
    takeNonce(second);
    return second;
  };

  const succeed = (call: Call): Promise<WireAnswer> => {
    const idempotencyKey = call.once === true ? randomUUID() : undefined;
    return retrying(retry, call.repeatable, call.signal, async () => {
      const answer = await withNonce(
        call,
        () => wire.exchange(toRequest(call, idempotencyKey)),
        () => {},
      );
      if (answer.status >= 200 && answer.status < 300) return answer;
      throw refusal(answer, call);
    });
  };

  return {
    json: async (call, schema) => parseAnswer(await succeed(call), address.origin, schema),
    async text(call, mediaType) {
      return readText(await succeed(call), address.origin, mediaType);
    },
    async nothing(call) {
      await succeed(call);
    },
    async stream(call) {
      const open = (): Promise<WireStream> => {
        const request = toRequest(call, undefined);
        return wire.open({ ...request, headers: { ...request.headers, accept: "text/event-stream" } });
      };
      const answer = await withNonce(call, open, ({ stream }) => stream.destroy());
      if (answer.status === 200) return answer;
      const { status, header, collect } = answer;
      throw refusal({ status, header, body: await collect() }, call);
    },
  };
};

/** `undefined` members left out. */
const onlyGiven = (values: Readonly<Record<string, string | undefined>>): Record<string, string> => {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(values)) if (value !== undefined) given[name] = value;
  return given;
};

const queryText = (query: Call["query"] = {}): string => {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [`${encodeURIComponent(name)}=${encodeURIComponent(value)}`],
  );
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
};

/** Node's own error for a bad header quotes it. Errors: CLIENT_UNAUTHORIZED. */
const checked = (secret: string): string => {
  if (/^[\x21-\x7e]{1,8192}$/.test(secret)) return secret;
  throw new AuthError({
    detail: "What was given as a key or token is none: it is empty, too long, or has characters no key has.",
    hint: "Give the key or token alone, without quotes and line breaks.",
  });
};
