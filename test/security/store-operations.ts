/**
 * What a writer of store-process.ts does in its turns, and what has to be in the vault after so many of them: a model
 * without a vault, so that what a killed process left can be compared with it row by row.
 */
import type { SecretValue } from "../../src/core/secret-value.ts";
import type { AnyVault } from "../../src/vault/index.ts";

const IMPORTED = 20;
const GRACE_MS = 3_600_000;

const single = (writer: string): string => `operated/${writer}/single`;
const imported = (writer: string): readonly string[] =>
  Array.from({ length: IMPORTED }, (_, at) => `operated/${writer}/i${at}`);

/** A turn of a writer: an import of many, then one secret from its making to its end. */
export const operate = async (vault: AnyVault, writer: string, turn: number, value: SecretValue): Promise<void> => {
  const { secrets } = vault;
  const path = single(writer);
  switch (turn % 6) {
    case 0:
      await secrets.importAll(imported(writer).map((one) => ({ path: one, value })));
      break;
    case 1:
      await secrets.set(path, value, { tier: "standard" });
      break;
    case 2:
      await secrets.rotate(path, value, { graceMs: GRACE_MS });
      break;
    case 3:
      await secrets.rollback(path, 1);
      break;
    case 4:
      await secrets.describe(path, { tier: "critical" });
      break;
    default:
      await secrets.remove(path);
  }
};

export interface ExpectedSecret {
  /** For each version, the turn that its value is of. */
  readonly turns: readonly number[];
  readonly tier: string;
}

/** What is there after so many turns, by path. */
export const expectedAfter = (writer: string, turns: number): ReadonlyMap<string, ExpectedSecret> => {
  const there = new Map<string, ExpectedSecret>();
  const add = (path: string, turn: number): void => {
    const before = there.get(path);
    there.set(path, { turns: [...(before?.turns ?? []), turn], tier: before?.tier ?? "standard" });
  };
  const path = single(writer);
  for (let turn = 0; turn < turns; turn += 1) {
    const kind = turn % 6;
    if (kind === 0) for (const one of imported(writer)) add(one, turn);
    else if (kind === 1 || kind === 2) add(path, turn);
    // Of the turn that began the secret.
    else if (kind === 3) add(path, turn - 2);
    else if (kind === 4) there.set(path, { turns: there.get(path)?.turns ?? [], tier: "critical" });
    else there.delete(path);
  }
  return there;
};

/** What the ring of changes has to tell of these turns, one text for each: `updated PATH 3`. */
export const expectedChanges = (writer: string, turns: number): readonly (readonly string[])[] =>
  Array.from({ length: turns }, (_, turn) => {
    const path = single(writer);
    const kind = turn % 6;
    if (kind === 5) return [`secret.deleted ${path} 3`];
    if (kind === 0) return imported(writer).map((one) => `secret.updated ${one} ${turn / 6 + 1}`);
    return [`secret.updated ${path} ${Math.min(kind, 3)}`];
  });
