/**
 * Makes a call, or gives the answer to it again: a change that comes with an Idempotency-Key is made once, and the same
 * request of the same caller within a minute gets the same answer, whatever server of the store it comes to. What was
 * refused changed nothing, and runs again. Must never run a request that it cannot tell from one that was made.
 */
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { VaultAudit } from "../audit.ts";
import type { AnyVault } from "../index.ts";
import type { KeyedRequest } from "../kept-answers.ts";
import { type Answer, type Call, type CallRequest, frameOf, idempotencyKeyOf, isChange } from "./call.ts";
import { createBudget } from "./callers/budget.ts";
import { budgetKeyOf, type Principal } from "./callers/principal.ts";
import { refusalOf } from "./wire/refusal.ts";

export type Answering = (call: Call, request: CallRequest) => Promise<Answer>;

export interface AnsweringOptions {
  readonly vault: Pick<AnyVault, "answers">;
  readonly audit: VaultAudit;
  readonly clock: Clock;
  readonly requireStanding: (principal: Principal) => Promise<void>;
}

/** Of one agent, so that nobody fills the store with answers. */
const PER_MINUTE = 6_000;
/** Longer ones are not kept: only an import of thousands of names has one. */
const MAX_KEPT = 64 * 1024;
/** For the first of two that came to two servers at once. `ms` */
const MAX_WAIT_MS = 30_000;
const FIRST_LOOK_MS = 50;
const LAST_LOOK_MS = 500;

const keptSchema = z.strictObject({
  status: z.number().int(),
  body: z.unknown().optional(),
  headers: z.record(z.string(), z.string()),
  requestId: z.string(),
});

export const createAnswering = ({ vault, audit, clock, requireStanding }: AnsweringOptions): Answering => {
  const { answers } = vault;
  const budget = createBudget(PER_MINUTE, clock);

  const inTurn = createTurns();

  /** `run`: it was not begun before, and is now. Errors: VAULT_IDEMPOTENCY_*. */
  const begin = async (keyed: KeyedRequest): Promise<{ readonly run: string } | { readonly answer: string }> => {
    const until = clock.monotonic() + MAX_WAIT_MS;
    for (let pause = FIRST_LOOK_MS; ; pause = Math.min(2 * pause, LAST_LOOK_MS)) {
      const begun = await answers.begin(keyed);
      if (begun.kind === "first" || begun.kind === "answered") return begun;
      if (begun.kind === "unsettled" || clock.monotonic() >= until) {
        throw new SidekeyError("VAULT_IDEMPOTENCY_UNSETTLED");
      }
      await sleep(pause);
    }
  };

  const again = async (call: Call, request: CallRequest, text: string): Promise<Answer> => {
    // It may have waited for it.
    await requireStanding(request.principal);
    const { status, body, headers, requestId } = keptSchema.parse(JSON.parse(text));
    const metadata = { call: call.operationId };
    await audit.record({ event: "answer.repeated", ...frameOf(request), firstRequestId: requestId, metadata });
    return { status, body, headers: { ...headers, "idempotent-replayed": "true" } };
  };

  const answerOnce = async (call: Call, request: CallRequest, keyed: KeyedRequest): Promise<Answer> => {
    const begun = await begin(keyed);
    if ("answer" in begun) return again(call, request, begun.answer);
    const { run } = begun;
    let answer: Answer;
    try {
      answer = await call.handle(request);
    } catch (error) {
      const isRefused = refusalOf(error).status < 500;
      // Where this fails, the request counts as begun and without an answer for the rest of the minute.
      await (isRefused ? answers.forget(keyed, run) : answers.keep(keyed, run, undefined)).catch(() => {});
      throw error;
    }
    // What waits for somebody is no answer yet: the same request is how one asks again.
    const settled =
      answer.status === 202 ? answers.forget(keyed, run) : answers.keep(keyed, run, textOf(answer, request));
    // The change was made, and its answer must go out all the same.
    await settled.catch(() => {});
    return answer;
  };

  return async (call, request) => {
    const idempotencyKey = isChange(call) ? idempotencyKeyOf(request) : undefined;
    const holder = budgetKeyOf(request.principal);
    if (idempotencyKey === undefined || holder === undefined) return call.handle(request);
    const wait = budget.spend(holder);
    if (wait !== undefined) throw new SidekeyError("VAULT_SERVER_RATE_LIMITED", { retryAfter: wait });
    // Behind this point what fails on our side may have been done.
    audit.assertWritable();
    const keyed: KeyedRequest = {
      credential: credentialOf(request),
      idempotencyKey,
      request: JSON.stringify([request.method, request.target, request.body ?? null]),
    };
    return inTurn(`${idempotencyKey} ${keyed.credential}`, () => answerOnce(call, request, keyed));
  };
};

/** Those of one name one after the other, so that nobody in this process has to look whether another one is done. */
const createTurns = (): (<T>(name: string, work: () => Promise<T>) => Promise<T>) => {
  const last = new Map<string, Promise<unknown>>();
  return async (name, work) => {
    const before = last.get(name) ?? Promise.resolve();
    const mine = before.then(work, work);
    last.set(name, mine);
    try {
      return await mine;
    } finally {
      if (last.get(name) === mine) last.delete(name);
    }
  };
};

/** Undefined: too long to keep. */
const textOf = ({ status, body, headers = {} }: Answer, { id }: CallRequest): string | undefined => {
  const text = JSON.stringify({ status, body, headers, requestId: id } satisfies z.input<typeof keptSchema>);
  return text.length > MAX_KEPT ? undefined : text;
};

/** Without its scheme: the same token may come with a proof or, where it is bound to no key, without. */
const credentialOf = ({ header }: CallRequest): string => (header("authorization") ?? "").replace(/^\S+ +/, "");
