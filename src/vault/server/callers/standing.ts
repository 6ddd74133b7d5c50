/**
 * Whether who began a request, or listens to a stream, may go on: a body can be held back, and a stream lasts, longer than
 * a key. Asks the store, never its own memory. Must never say why in an answer.
 */
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { isOver } from "../../../identity/token.ts";
import type { AnyVault } from "../../index.ts";
import type { Principal, TokenPrincipal } from "./principal.ts";

export interface StandingOptions {
  readonly vault: Pick<AnyVault, "agents" | "tokens" | "sidecars">;
  readonly clock: Pick<Clock, "now">;
}

/** Errors: IDENTITY_KEY_INVALID, IDENTITY_TOKEN_REVOKED, IDENTITY_TOKEN_EXPIRED, IDENTITY_SIDECAR_REVOKED. */
export const requireStanding = async (options: StandingOptions, principal: Principal): Promise<void> => {
  switch (principal.kind) {
    case "anonymous":
      return;
    case "token":
      return requireToken(options, principal);
    default: {
      const { revokedAt } = await options.vault.agents.find(principal.agent.id);
      if (revokedAt !== undefined) throw new SidekeyError("IDENTITY_KEY_INVALID");
    }
  }
};

const requireToken = async ({ vault, clock }: StandingOptions, { token, proof }: TokenPrincipal): Promise<void> => {
  const found = await vault.tokens.find(token.id);
  if (found === undefined || found.revokedAt !== undefined) throw new SidekeyError("IDENTITY_TOKEN_REVOKED");
  if (isOver(token, clock.now())) throw new SidekeyError("IDENTITY_TOKEN_EXPIRED");
  if (proof === undefined || token.agentId === undefined) return;
  const sidecar = await vault.sidecars.find(token.agentId, proof);
  if (sidecar?.revokedAt !== undefined) throw new SidekeyError("IDENTITY_SIDECAR_REVOKED");
};
