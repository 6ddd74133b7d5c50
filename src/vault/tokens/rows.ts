/**
 * How tokens lie in a store: `token:ID` holds what the store says of one; `tokenend:TIME:ID` finds those that are over
 * without a look at the others, and `tokenof:AGENT:ID` those of one agent. The three come and go in one transaction, and
 * with them `tokencount:`, how many there are of all and of each agent. Never a token itself.
 */
import * as z from "zod";
import type { EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { ACCESS_TIERS } from "../../identity/tier.ts";
import { type Barrier, openJson, recallJson, sealJson } from "../barrier/barrier.ts";
import { putBrief, readBrief } from "../brief-rows.ts";
import type { RangeOptions, ReadTx, Tx } from "../storage/storage.ts";
import { dropPlaceholders } from "./placeholders.ts";

const TOKEN = "token:";
const END = "tokenend:";
const OF = "tokenof:";
const COUNT = "tokencount:";
/** Uses that were counted under an Idempotency-Key. */
const IDEMPOTENT = "idem:";
/** Digits of a time in base 36, up to the year 2059 and in one order for texts and numbers. */
const TIME_DIGITS = 9;
/** Removed by one issue: more than one adds, so that what is over goes. */
const PURGE_BATCH = 20;
const NOTHING = Buffer.alloc(0);

const rowSchema = z.strictObject({
  /** Name. */
  agent: z.string(),
  /** Absent: issued to a name alone, in the embedded store. */
  agentId: z.string().optional(),
  scope: z.string(),
  issuedAt: z.number(),
  expiresAt: z.number(),
  revokedAt: z.number().optional(),
  maxUses: z.number().int().positive().optional(),
  uses: z.number().int().nonnegative().optional(),
  description: z.string().optional(),
  /** Secrets of tiers above it are out of reach. Absent: standard. */
  approvedTier: z.enum(ACCESS_TIERS).optional(),
});
export type TokenRow = z.output<typeof rowSchema>;

const endKey = (expiresAt: EpochMs, id: string): string =>
  `${END}${expiresAt.toString(36).padStart(TIME_DIGITS, "0")}:${id}`;

/** An agent's id holds no `:`. A name does neither, and stands where there is no id. */
const ofPrefix = ({ agent, agentId }: Pick<TokenRow, "agent" | "agentId">): string =>
  `${OF}${agentId ?? `name=${agent}`}:`;

const idOf = (key: string): string => key.slice(key.lastIndexOf(":") + 1);

/** Undefined when there is no such token. Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
export const readToken = (tx: ReadTx, barrier: Barrier, id: string): TokenRow | undefined => {
  const sealed = tx.get(TOKEN + id);
  return sealed === undefined ? undefined : recallJson(barrier, TOKEN + id, sealed, rowSchema);
};

/** Of one that is there. */
export const updateToken = (tx: Tx, barrier: Barrier, id: string, row: TokenRow): void =>
  tx.put(TOKEN + id, sealJson(barrier, TOKEN + id, row));

export const addToken = (tx: Tx, barrier: Barrier, id: string, row: TokenRow): void => {
  updateToken(tx, barrier, id, row);
  addIndexes(tx, barrier, id, row);
  for (const prefix of [TOKEN, ofPrefix(row)]) count(tx, barrier, prefix, 1);
};

const countSchema = z.strictObject({ count: z.number().int().positive() });

/** No row: none, or a store that nobody has counted yet. */
const readCount = (tx: ReadTx, barrier: Barrier, prefix: string): number | undefined => {
  const sealed = tx.get(COUNT + prefix);
  return sealed === undefined ? undefined : recallJson(barrier, COUNT + prefix, sealed, countSchema).count;
};

/** After the rows were put, or removed. */
const count = (tx: Tx, barrier: Barrier, prefix: string, change: 1 | -1): void => {
  const key = COUNT + prefix;
  const before = readCount(tx, barrier, prefix);
  const now = before === undefined ? tx.range(prefix).length : before + change;
  if (now > 0) tx.put(key, sealJson(barrier, key, { count: now }));
  else tx.remove(key);
};

/** What `addToken` will ask for, together with what is asked for first. */
export const expectCounts = (tx: ReadTx, row: Pick<TokenRow, "agent" | "agentId">): void =>
  tx.expect([TOKEN, ofPrefix(row)].map((prefix) => COUNT + prefix));

const addIndexes = (tx: Tx, barrier: Barrier, id: string, row: TokenRow): void => {
  for (const path of [endKey(row.expiresAt, id), ofPrefix(row) + id])
    tx.put(path, barrier.seal({ path, version: 0 }, NOTHING));
};

const removeToken = (tx: Tx, barrier: Barrier, id: string): void => {
  const row = readToken(tx, barrier, id);
  if (row === undefined) return;
  tx.remove(TOKEN + id);
  tx.remove(endKey(row.expiresAt, id));
  tx.remove(ofPrefix(row) + id);
  for (const prefix of [TOKEN, ofPrefix(row)]) count(tx, barrier, prefix, -1);
  // Most have gone at their own time.
  for (const { key } of tx.range(`${IDEMPOTENT}${id}:`)) tx.remove(key);
  dropPlaceholders(tx, barrier, id);
};

/** Those that are over, the oldest first, some at a time. */
export const purgeTokens = (tx: Tx, barrier: Barrier, now: EpochMs): void => {
  const over = tx
    .range(END, { limit: PURGE_BATCH })
    .map(({ key }) => key)
    .filter((key) => Number.parseInt(key.slice(END.length, END.length + TIME_DIGITS), 36) <= now);
  expectRemovals(tx, barrier, over.map(idOf));
  for (const end of over) {
    removeToken(tx, barrier, idOf(end));
    // Also when its token was gone.
    tx.remove(end);
  }
};

/** All that removing these will ask for, in one go. */
const expectRemovals = (tx: Tx, barrier: Barrier, ids: readonly string[]): void => {
  if (ids.length === 0) return;
  expectTokens(tx, ids);
  const keys = ids.flatMap((id) => {
    const row = readToken(tx, barrier, id);
    if (row === undefined) return [];
    const of = ofPrefix(row);
    return [endKey(row.expiresAt, id), of + id, COUNT + of];
  });
  tx.expect(
    [COUNT + TOKEN, ...keys],
    ids.map((id) => ({ prefix: `${IDEMPOTENT}${id}:` })),
  );
};

/** When the last token that is there is over; 0 when there is none. */
export const lastTokenEnd = (tx: ReadTx): EpochMs => {
  const [last] = tx.range(END, { limit: 1, reverse: true });
  return last === undefined ? 0 : Number.parseInt(last.key.slice(END.length, END.length + TIME_DIGITS), 36);
};

/** Tokens of Sidekey 0.1 have a row alone. */
export const indexTokens = (tx: Tx, barrier: Barrier): void => {
  for (const { key, value } of tx.range(TOKEN)) {
    addIndexes(tx, barrier, key.slice(TOKEN.length), openJson(barrier, key, value, rowSchema));
  }
};

/** Of an agent: its id, or a name that has none. */
export type TokensOf = { readonly id: string } | { readonly name: string };

const prefixOf = (agent: TokensOf | undefined): string => {
  if (agent === undefined) return TOKEN;
  return "id" in agent ? ofPrefix({ agent: "", agentId: agent.id }) : ofPrefix({ agent: agent.name });
};

/** All, or those of an agent, in the order of their ids; or a part of them. */
export const tokenIds = (tx: ReadTx, agent?: TokensOf, part?: RangeOptions): readonly string[] =>
  tx.range(prefixOf(agent), part).map(({ key }) => idOf(key));

/** How many of them there are. */
export const tokenCount = (tx: ReadTx, barrier: Barrier, agent?: TokensOf): number =>
  readCount(tx, barrier, prefixOf(agent)) ?? tx.range(prefixOf(agent)).length;

/** For what asks for each of them. */
export const expectTokens = (tx: ReadTx, ids: readonly string[]): void => tx.expect(ids.map((id) => TOKEN + id));

/** Of one agent, all or some. Also those that are over: a verifier grants them a minute more. Returns their ids. */
export const revokeTokensOf = (
  tx: Tx,
  barrier: Barrier,
  agentId: string,
  { now, which = () => true }: { readonly now: EpochMs; readonly which?: (row: TokenRow) => boolean },
): readonly string[] =>
  tokenIds(tx, { id: agentId }).filter((id) => {
    const row = readToken(tx, barrier, id);
    if (row === undefined || row.revokedAt !== undefined || !which(row)) return false;
    updateToken(tx, barrier, id, { ...row, revokedAt: now });
    dropPlaceholders(tx, barrier, id);
    return true;
  });

const idempotentSchema = z.strictObject({ until: z.number(), request: z.string(), version: z.number() });

export interface CountedUse {
  readonly id: string;
  /** 64 hexadecimal digits; stands open in the row's key. */
  readonly use: string;
  /** Hash of what was sent, which may be a value that could be guessed: sealed with the row. */
  readonly request: string;
  readonly version: number;
  readonly now: EpochMs;
}

const useKey = ({ id, use }: CountedUse): string => `${IDEMPOTENT}${id}:${use}`;

/** The version that this use was counted with; undefined: it was not. Errors: VAULT_IDEMPOTENCY_REUSED. */
export const countedBefore = (tx: ReadTx, barrier: Barrier, counted: CountedUse): number | undefined => {
  const known = readBrief(tx, barrier, useKey(counted), { schema: idempotentSchema, now: counted.now });
  if (known !== undefined && known.request !== counted.request) throw new SidekeyError("VAULT_IDEMPOTENCY_REUSED");
  return known?.version;
};

export const rememberUse = (tx: Tx, barrier: Barrier, counted: CountedUse, until: EpochMs): void => {
  const { request, version } = counted;
  const row: z.output<typeof idempotentSchema> = { until, request, version };
  putBrief(tx, barrier, useKey(counted), row);
};
