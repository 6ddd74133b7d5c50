/**
 * The rows of a backup into a store, in one transaction. Secrets take the place of all that are there. Agents, operators
 * and sidecars are only added: what the store says of one that it knows is newer, and a revocation must not be undone.
 */
import type { EpochMs } from "../../core/clock.ts";
import { AGENT, AGENT_KEY, AGENT_NAME, OPERATOR, openPointer } from "../agents/rows.ts";
import type { Barrier } from "../barrier/barrier.ts";
import { isSecretRow, META, VALUE } from "../barrier/rows.ts";
import { forgetChanges } from "../changes.ts";
import type { Row, Tx } from "../storage/storage.ts";

export const restoreRows = (
  tx: Tx,
  barrier: Barrier,
  { rows, now }: { readonly rows: readonly Row[]; readonly now: EpochMs },
): void => {
  tx.expect(rows.map(({ key }) => key));
  // Sealed anew where another key did it: that one may leave the key file at any time.
  const put = ({ key, value }: Row): void => tx.put(key, barrier.isCurrent(value) ? value : barrier.reseal(key, value));

  const secrets = rows.filter(({ key }) => isSecretRow(key));
  const wanted = new Set(secrets.map(({ key }) => key));
  for (const { key } of [...tx.range(META), ...tx.range(VALUE)]) if (!wanted.has(key)) tx.remove(key);
  secrets.forEach(put);

  const fresh = rows.filter(({ key }) => !isSecretRow(key) && tx.get(key) === undefined);
  const added = new Set(fresh.filter(isOf(AGENT)).map(({ key }) => key.slice(AGENT.length)));
  for (const row of fresh) {
    // What leads to an agent that was there already may have been taken away with its revocation.
    if (POINTERS.some((prefix) => row.key.startsWith(prefix)) && !added.has(openPointer(barrier, row.key, row.value))) {
      continue;
    }
    put(row);
  }
  forgetChanges(tx, barrier, now);
};

const POINTERS: readonly string[] = [AGENT_KEY, AGENT_NAME, OPERATOR];

const isOf =
  (prefix: string) =>
  ({ key }: Row): boolean =>
    key.startsWith(prefix);
