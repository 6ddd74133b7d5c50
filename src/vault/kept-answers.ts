/**
 * What was answered to changes that came with an Idempotency-Key, for a client that did not hear it and asks again
 * (`answer:NAME`, for a minute). An answer may hold a token or a key of an agent, of which the store keeps no more than a
 * hash otherwise. So it is sealed twice: as every row, and within that with a key that follows from the caller's own
 * credential, which is kept nowhere. It opens for who sends that credential again, and for nobody who has the store and the
 * vault's key. Row names and what tells one request from another follow from it as well.
 */
import { createHmac, hkdfSync, randomUUID } from "node:crypto";
import * as z from "zod";
import type { Clock } from "../core/clock.ts";
import { SidekeyError } from "../core/errors.ts";
import { type Barrier, createBarrier, openJson, sealJson } from "./barrier/barrier.ts";
import { parseFernetKey } from "./barrier/fernet.ts";
import { briefKeys, changeBrief, putBrief, readBrief, removeBrief } from "./brief-rows.ts";
import type { ReadTx, VaultStorage } from "./storage/storage.ts";

export interface KeyedRequest {
  /** Key or token of the caller, as it was sent. */
  readonly credential: string;
  readonly idempotencyKey: string;
  /** All that makes it this request and no other: method, target, body. */
  readonly request: string;
}

export type Begun =
  /** It is the first: whoever began it has to say how it ended. What is never said is unsettled for the rest of the minute. */
  | { readonly kind: "first"; readonly run: string }
  | { readonly kind: "answered"; readonly answer: string }
  /** It was begun, and has no answer yet. */
  | { readonly kind: "running" }
  /** It was begun, and nobody will ever know its answer. */
  | { readonly kind: "unsettled" };

export interface KeptAnswers {
  /** Of several at once, in whatever processes, one is the first. Errors: VAULT_IDEMPOTENCY_REUSED, VAULT_STORE_BUSY. */
  begin(request: KeyedRequest): Promise<Begun>;
  /** Undefined: there is an answer, and it cannot be kept. Errors: VAULT_STORE_BUSY. */
  keep(request: KeyedRequest, run: string, answer: string | undefined): Promise<void>;
  /** Nothing was done: the same request may run again. Errors: VAULT_STORE_BUSY. */
  forget(request: KeyedRequest, run: string): Promise<void>;
}

/** As long as a client may ask again, from when it asked first. `ms` */
export const IDEMPOTENCY_MS = 60_000;

const ANSWER = "answer:";

const rowSchema = z.strictObject({
  until: z.number(),
  /** Tells one that is slow from another that began after its time. */
  run: z.string(),
  request: z.string(),
  state: z.enum(["running", "answered", "unsettled"]),
  answer: z.string().optional(),
});
type AnswerRow = z.output<typeof rowSchema>;

const answerSchema = z.strictObject({ answer: z.string() });

interface Place {
  /** Of the row. */
  readonly key: string;
  readonly request: string;
  /** For what lies in the row. */
  readonly own: Barrier;
}

export const createKeptAnswers = (storage: VaultStorage, barrier: Barrier, clock: Clock): KeptAnswers => {
  const placeOf = ({ credential, idempotencyKey, request }: KeyedRequest): Place => {
    const bytes = Buffer.from(hkdfSync("sha256", credential, "", "sidekey kept answer", 64));
    const mac = (what: string, text: string): string =>
      createHmac("sha256", bytes.subarray(0, 32)).update(`${what}\0${text}`).digest("hex");
    const sealing = parseFernetKey(bytes.subarray(32).toString("base64url"));
    if (sealing === undefined) throw new TypeError("a derived key is no key");
    return {
      key: ANSWER + mac("name", idempotencyKey),
      request: mac("request", request),
      own: createBarrier({ keys: [sealing] }, clock),
    };
  };

  const read = (tx: ReadTx, { key }: Place): AnswerRow | undefined =>
    readBrief(tx, barrier, key, { schema: rowSchema, now: clock.now() });

  /** Undefined: it was not begun. */
  const found = (tx: ReadTx, place: Place): Begun | undefined => {
    const row = read(tx, place);
    if (row === undefined) return undefined;
    if (row.request !== place.request) throw new SidekeyError("VAULT_IDEMPOTENCY_REUSED");
    if (row.state !== "answered" || row.answer === undefined) {
      return { kind: row.state === "running" ? "running" : "unsettled" };
    }
    const { answer } = openJson(place.own, place.key, Buffer.from(row.answer, "latin1"), answerSchema);
    return { kind: "answered", answer };
  };

  const change = ({ key }: Place, run: string, next: (row: AnswerRow) => AnswerRow | undefined): Promise<void> =>
    storage.write(
      (tx) => {
        const row = readBrief(tx, barrier, key, { schema: rowSchema, now: Number.NEGATIVE_INFINITY });
        if (row === undefined || row.run !== run) return;
        const changed = next(row);
        if (changed === undefined) removeBrief(tx, key, row);
        else changeBrief(tx, barrier, key, changed);
      },
      { expect: [key] },
    );

  return {
    async begin(request) {
      const place = placeOf(request);
      const { key } = place;
      const known = await storage.read((tx) => found(tx, place), { expect: [key] });
      if (known !== undefined) return known;
      const run = randomUUID();
      const until = clock.now() + IDEMPOTENCY_MS;
      return storage.write(
        (tx): Begun => {
          const others = found(tx, place);
          if (others !== undefined) return others;
          const row: AnswerRow = { until, run, request: place.request, state: "running" };
          putBrief(tx, barrier, key, row);
          return { kind: "first", run };
        },
        { expect: briefKeys(key, until) },
      );
    },

    keep(request, run, answer) {
      const place = placeOf(request);
      const state = answer === undefined ? "unsettled" : "answered";
      const sealed =
        answer === undefined ? {} : { answer: sealJson(place.own, place.key, { answer }).toString("latin1") };
      return change(place, run, (row) => ({ ...row, state, ...sealed }));
    },

    forget: (request, run) => change(placeOf(request), run, () => undefined),
  };
};
