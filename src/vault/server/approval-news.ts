/** Tells whoever the file names of what waits for an operator, and of what came of it. Behind the answer, never before. */
import { type CredentialContext, readCredential } from "../../config/credential.ts";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { createWebhook, parseWebhookSecret } from "../approvals/webhook.ts";
import type { ApprovalInfo } from "../index.ts";
import type { VaultServerConfig } from "./config/model.ts";
import { wireTime } from "./wire/types.ts";

export type ApprovalNews = "approval.requested" | "approval.granted" | "approval.denied" | "approval.timed_out";

export interface ApprovalTeller {
  tell(news: ApprovalNews, approval: ApprovalInfo): void;
  close(): Promise<void>;
}

export interface TellerOptions extends CredentialContext {
  readonly webhook: VaultServerConfig["approvals"]["webhook"];
  readonly clock: Clock;
  readonly log: Log;
}

/** Errors: CONFIG_INVALID (a secret that is missing, or shorter than 24 bytes). */
export const createApprovalTeller = ({ webhook, baseDir, environment, clock, log }: TellerOptions): ApprovalTeller => {
  if (webhook === undefined) return { tell() {}, close: async () => {} };
  const secret = parseWebhookSecret(readCredential(webhook.secret, { baseDir, environment }));
  if (secret === undefined) {
    throw new SidekeyError("CONFIG_INVALID", {
      detail: "approvals.webhook.secret: is shorter than 24 bytes, or not the base64 that whsec_ announces.",
      hint: "For example: openssl rand -base64 32",
    });
  }
  const sender = createWebhook({ url: new URL(webhook.url), secret, clock, log });
  return {
    tell(news, approval) {
      // A yes that is one of two leaves it waiting, and is no news.
      if (news === "approval.granted" && approval.status === "pending") return;
      sender.send({
        id: `${approval.id}.${news.slice("approval.".length)}`,
        type: news,
        data: {
          approval_id: approval.id,
          agent_id: approval.agentId,
          agent: approval.agent,
          access_tier: approval.tier,
          requested_scopes: approval.scopes.map(({ text }) => text),
          status: approval.status,
          reason: approval.reason,
          expires_at: wireTime(approval.expiresAt),
          decided_by: approval.decidedBy,
        },
      });
    },
    close: async () => sender.close(),
  };
};
