/**
 * What nobody asks a server for: ends of secrets and of approvals, and what was decided beside the servers, put on record
 * by one of them; and ends of rows that were of use for a minute.
 */

import { toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { VaultAudit } from "../audit.ts";
import type { AnyVault } from "../index.ts";
import type { ApprovalTeller } from "./approval-news.ts";

const EVERY_MS = 5_000;
const SYSTEM = { type: "system" } as const;

export const startChores = (
  { secrets, approvals, briefRows }: Pick<AnyVault, "secrets" | "approvals" | "briefRows">,
  audit: VaultAudit,
  teller: ApprovalTeller,
  log: Log,
): { close(): Promise<void> } => {
  let running: Promise<void> | undefined;

  const tellExpired = async (): Promise<void> => {
    const expired = await secrets.takeExpired();
    if (expired.length === 0) return;
    await audit.recordAll(
      expired.map(({ path, version }) => ({ event: "secret.expired" as const, actor: SYSTEM, secret: path, version })),
    );
    await secrets.expiryTold(expired);
  };

  const tellTimedOut = async (): Promise<void> => {
    const over = await approvals.expire();
    await audit.recordAll(
      over.map(({ id, agent, tier }) => ({
        event: "approval.timed_out" as const,
        actor: SYSTEM,
        approvalId: id,
        metadata: { agent, tier },
      })),
    );
    if (over.length > 0) teller.wake();
  };

  const tellDecided = async (): Promise<void> => {
    const decisions = await approvals.unrecorded.take();
    if (decisions.length === 0) return;
    await audit.recordAll(
      decisions.map(({ approvalId, verdict, by, at, reason, row: { agent, tier, scope, status } }) => ({
        event: `approval.${verdict}` as const,
        actor: { type: "operator" as const, id: by },
        approvalId,
        reason,
        metadata: { agent, tier, scope, status, place: "machine", happened_at: new Date(at).toISOString() },
      })),
    );
    await approvals.unrecorded.told(decisions);
    teller.wake();
  };

  const dropOver = async (): Promise<void> => void (await briefRows.dropOver());

  const run = async (): Promise<void> => {
    // Without a log nothing is taken: it stays for later, or for another server.
    const telling = audit.healthy() ? [tellExpired, tellTimedOut, tellDecided] : [];
    for (const chore of [dropOver, ...telling]) {
      await chore().catch((error: unknown) => log.warn("a chore failed", { code: toSidekeyError(error).code }));
    }
  };

  const timer = setInterval(() => {
    running ??= run().finally(() => {
      running = undefined;
    });
  }, EVERY_MS).unref();

  return {
    async close() {
      clearInterval(timer);
      await running;
    },
  };
};
