/**
 * Tells whoever the file names of what waits for an operator, and of what came of it: behind the answer, never before. What
 * is to be told lies in the store until it was taken, or was tried six times; so a restart, or another server on the store,
 * goes on with it. A receiver may hear of one thing twice, under one id.
 */
import { type CredentialContext, readCredential } from "../../config/credential.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { createWebhook, parseWebhookSecret, WEBHOOK_TIMEOUT_MS, type WebhookEvent } from "../approvals/webhook.ts";
import type { ApprovalNews, ApprovalNotice } from "../index.ts";
import type { VaultServerConfig } from "./config/model.ts";
import { wireTime } from "./wire/types.ts";

export interface ApprovalTeller {
  /** There may be something to tell. Returns at once. */
  wake(): void;
  /** What is under way is cut off, and goes on elsewhere or later. */
  close(): Promise<void>;
}

export interface TellerOptions extends CredentialContext {
  readonly webhook: VaultServerConfig["approvals"]["webhook"];
  readonly news: ApprovalNews;
  readonly clock: Clock;
  readonly log: Log;
  /** From 0 up to, not including, 1. */
  readonly random?: () => number;
  /** Runs every so many `ms` until the returned function is called. */
  readonly every?: (ms: number, run: () => void) => () => void;
}

/** Before the second attempt, and so on; after the last one it is given up. `ms` */
export const RETRY_AFTER_MS = [1_000, 5_000, 30_000, 120_000, 600_000] as const;
const AT_ONCE = 4;
/** A server that died has its part taken over after this; one that lives is done by then. `ms` */
export const HOLD_MS = 2.5 * WEBHOOK_TIMEOUT_MS;
const LOOK_EVERY_MS = 1_000;

/** Errors: CONFIG_INVALID (a secret that is missing, or shorter than 24 bytes). */
export const createApprovalTeller = ({
  webhook: to,
  news,
  baseDir,
  environment,
  clock,
  log,
  random = Math.random,
  every = systemEvery,
}: TellerOptions): ApprovalTeller => {
  if (to === undefined) return { wake() {}, close: async () => {} };
  const secret = parseWebhookSecret(readCredential(to.secret, { baseDir, environment }));
  if (secret === undefined) {
    throw new SidekeyError("CONFIG_INVALID", {
      detail: "approvals.webhook.secret: is shorter than 24 bytes, or not the base64 that whsec_ announces.",
      hint: "For example: openssl rand -base64 32",
    });
  }
  const webhook = createWebhook({ url: new URL(to.url), secret, clock });
  const closing = new AbortController();

  const deliver = async (notice: ApprovalNotice): Promise<void> => {
    const event = eventOf(notice);
    const { id, type } = event;
    const outcome = await webhook.attempt(event, closing.signal);
    if (outcome.kind === "taken") return news.end(notice);
    if (outcome.kind === "ended") return news.putBack(notice, 0, false);
    const { fault } = outcome;
    const tries = notice.tries + 1;
    const after = RETRY_AFTER_MS[notice.tries];
    if (after === undefined || outcome.kind === "gone") {
      log.error("a webhook was given up", { type, id, tries, fault });
      return news.end(notice);
    }
    log.warn("a webhook was not taken and is sent again", { type, id, tries, fault });
    // Half to one and a half of it, so that several do not come back together.
    return news.putBack(notice, Math.round(after * (0.5 + random())), true);
  };

  let isFailing = false;
  const work = async (): Promise<void> => {
    try {
      while (!closing.signal.aborted) {
        const notices = await news.take(AT_ONCE, HOLD_MS);
        if (notices.length === 0) break;
        const ends = await Promise.allSettled(notices.map(deliver));
        for (const end of ends) if (end.status === "rejected") throw end.reason;
      }
      isFailing = false;
    } catch (error) {
      // It lies where it is, and the next look takes it up; once is enough to say so.
      if (!isFailing) log.warn("webhooks wait for the store", { code: toSidekeyError(error).code });
      isFailing = true;
    }
  };

  let working: Promise<void> | undefined;
  let isWoken = false;
  const workOff = async (): Promise<void> => {
    while (isWoken && !closing.signal.aborted) {
      isWoken = false;
      await work();
    }
    // In the turn of the last look at `isWoken`, so that no word is missed.
    working = undefined;
  };
  const wake = (): void => {
    isWoken = true;
    working ??= workOff();
  };

  const stopLooking = every(LOOK_EVERY_MS, wake);
  return {
    wake,
    async close() {
      closing.abort();
      stopLooking();
      await working;
    },
  };
};

const eventOf = ({ id, type, at, row }: ApprovalNotice): WebhookEvent => ({
  id: `${id}.${type.slice("approval.".length)}`,
  type,
  at,
  data: {
    approval_id: id,
    agent_id: row.agentId,
    agent: row.agent,
    access_tier: row.tier,
    requested_scopes: row.scope.split(" "),
    status: row.status,
    reason: row.reason,
    expires_at: wireTime(row.expiresAt),
    decided_by: row.decided?.by,
  },
});

const systemEvery = (ms: number, run: () => void): (() => void) => {
  const timer = setInterval(run, ms).unref();
  return () => clearInterval(timer);
};
