/**
 * Judges each row that is read by what the last writer left there (ledger.ts). A row that is not so ends the read with a
 * doubt, and who began it has all rows gone through before anything is served: only their sum is proof.
 */
import type { ReadTx, Row, Tx } from "../storage/storage.ts";
import { type Account, SUM, type Through } from "./integrity.ts";
import { ABSENT, createLedger, type Ledger, type Tag, type View } from "./ledger.ts";
import { writesSince } from "./recent-writes.ts";

/** A TypeError, as storage lets those through unchanged. */
export class Doubt extends TypeError {
  /** Others have written too much meanwhile for a judgement: read again, nothing is wrong. */
  readonly isLate: boolean;
  constructor(isLate: boolean) {
    super("a row that is in doubt");
    this.isLate = isLate;
  }
}

export interface Freshness {
  /** `tx` of a read of this account's generation. */
  reading(account: Account, tx: ReadTx): ReadTx;
  /** For writes, which may see what is not committed. */
  readonly through: Through;
  /** What a committed read found. False: all rows have to be gone through before rows can be judged. */
  follow(account: Account): boolean;
  /** As `Ledger.startFilling`. */
  readonly startFilling: Ledger["startFilling"];
}

interface Judged {
  readonly value: Buffer;
  readonly tag: Tag;
}

/** Rows whose tags are remembered with their bytes, as long as they are small. */
const MAX_ROWS = 4096;
const MAX_BYTES = 4096;

export const createFreshness = (): Freshness => {
  const ledger = createLedger();
  /** What the tags below were made with. */
  let maker: object | undefined;
  const names = new Map<string, Tag>();
  const rows = new Map<string, Judged>();

  const useMaker = ({ maker: made }: Account): void => {
    if (made === maker) return;
    maker = made;
    names.clear();
    rows.clear();
  };

  const nameTag = (account: Account, name: string): Tag => {
    const known = names.get(name);
    if (known !== undefined) return known;
    if (names.size >= MAX_ROWS) names.clear();
    const tag = account.nameTag(name);
    names.set(name, tag);
    return tag;
  };

  const rowTag = (account: Account, name: string, value: Buffer): Tag => {
    const known = rows.get(name);
    if (known?.value.equals(value) === true) return known.tag;
    const tag = account.rowTag(name, value);
    if (rows.size >= MAX_ROWS) rows.clear();
    // A copy: the store may use its buffer again.
    if (value.length <= MAX_BYTES) rows.set(name, { value: Buffer.from(value), tag });
    return tag;
  };

  const judge = (account: Account, view: View, name: string, value: Buffer | undefined): void => {
    // It speaks for itself, and is in no sum.
    if (name === SUM) return;
    useMaker(account);
    const tag = value === undefined ? ABSENT : rowTag(account, name, value);
    if (tag !== view(nameTag(account, name))) throw new Doubt(false);
  };

  return {
    reading(account, tx) {
      if (!ledger.isKnown) return tx;
      const view = ledger.at(account.generation);
      if (view === undefined) throw new Doubt(true);
      return {
        get generation() {
          return tx.generation;
        },
        get(name) {
          const value = tx.get(name);
          judge(account, view, name, value);
          return value;
        },
        range(prefix, options) {
          const found = tx.range(prefix, options);
          for (const { key, value } of found) judge(account, view, key, value);
          return found;
        },
        expect: (keys, ranges) => tx.expect(keys, ranges),
      };
    },

    through(account, tx): Tx {
      const view = ledger.at(account.generation, writesSince(account.recent, ledger.heard));
      if (view === undefined) return tx;
      /** What this transaction changed itself. */
      const own = new Set<string>();
      const judgeRow = ({ key, value }: Row): void => {
        if (!own.has(key)) judge(account, view, key, value);
      };
      return {
        get generation() {
          return tx.generation;
        },
        get(name) {
          const value = tx.get(name);
          if (!own.has(name)) judge(account, view, name, value);
          return value;
        },
        range(prefix, options) {
          const found = tx.range(prefix, options);
          found.forEach(judgeRow);
          return found;
        },
        expect: (keys, ranges) => tx.expect(keys, ranges),
        peek: (name) => tx.peek(name),
        put(name, value) {
          own.add(name);
          tx.put(name, value);
        },
        remove(name) {
          own.add(name);
          return tx.remove(name);
        },
      };
    },

    follow: ({ generation, recent }) => ledger.advance(generation, writesSince(recent, ledger.heard)),
    startFilling: ledger.startFilling,
  };
};
