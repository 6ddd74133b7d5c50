/** Who makes a request, and what that allows. Pure. */
import { SidekeyError } from "../../../core/errors.ts";
import { type Scope, type SecretAction, scopesCover } from "../../../identity/scope.ts";
import { type AccessTier, requireTier } from "../../../identity/tier.ts";
import type { VaultActor } from "../../audit.ts";
import type { AgentInfo, VerifiedToken } from "../../index.ts";

export interface OperatorPrincipal {
  readonly kind: "operator";
  readonly agent: AgentInfo;
}

export interface AgentPrincipal {
  readonly kind: "agent";
  readonly agent: AgentInfo;
}

export interface TokenPrincipal {
  readonly kind: "token";
  readonly token: VerifiedToken;
  /** Thumbprint of the key whose proof came with it. */
  readonly proof: string | undefined;
  /** That key is the token's own, or an enrolled sidecar's of the same agent. */
  readonly isSidecar: boolean;
}

export type Principal = { readonly kind: "anonymous" } | OperatorPrincipal | AgentPrincipal | TokenPrincipal;

/** What a principal's key or token names; none for operators, who may everything but `use`. */
export const scopesOf = (principal: Principal): readonly Scope[] => {
  switch (principal.kind) {
    case "anonymous":
      return [];
    case "token":
      return principal.token.scopes;
    default:
      return principal.agent.scopes;
  }
};

export const covers = (principal: Principal, action: SecretAction, path: string): boolean =>
  scopesCover(scopesOf(principal), action, path) && (principal.kind !== "agent" || isWithin(principal.agent, path));

/** An agent's namespaces bind its key as they bind its tokens. */
const isWithin = ({ namespaces }: AgentInfo, path: string): boolean =>
  namespaces.length === 0 || namespaces.some((namespace) => path.startsWith(`${namespace}/`));

/** Errors: IDENTITY_SCOPE_DENIED. */
export const requireScope = (principal: Principal, action: SecretAction, path: string): void => {
  if (!covers(principal, action, path)) throw new SidekeyError("IDENTITY_SCOPE_DENIED");
};

/** Whether it may know that there is such a secret. */
export const sees = (principal: Principal, path: string): boolean =>
  (["read", "use", "write"] as const).some((action) => covers(principal, action, path));

/** Operators need nobody's word; a key of an agent has nobody's. Errors: IDENTITY_APPROVAL_REQUIRED. */
export const requireApproved = (principal: Principal, tier: AccessTier): void => {
  if (principal.kind === "operator") return;
  requireTier(principal.kind === "token" ? principal.token.approvedTier : "standard", tier);
};

/** For `history` and lists. */
export const nameOf = (principal: Principal): string => {
  switch (principal.kind) {
    case "anonymous":
      return "anonymous";
    case "token":
      return principal.token.agent;
    default:
      return principal.agent.name;
  }
};

/** Undefined: a token that was issued to a name alone, or nobody. */
export const agentIdOf = (principal: Principal): string | undefined => {
  switch (principal.kind) {
    case "anonymous":
      return undefined;
    case "token":
      return principal.token.agentId;
    default:
      return principal.agent.id;
  }
};

/** What limits are counted by: the agent, which may make itself as many tokens as it likes. Undefined: nobody. */
export const budgetKeyOf = (principal: Principal): string | undefined =>
  agentIdOf(principal) ?? (principal.kind === "token" ? `name=${principal.token.agent}` : undefined);

export const actorOf = (principal: Principal): VaultActor => {
  switch (principal.kind) {
    case "anonymous":
      return { type: "anonymous" };
    case "token":
      return { type: "token", id: principal.token.id, agent: principal.token.agent };
    default:
      return { type: principal.kind, id: principal.agent.id, agent: principal.agent.name };
  }
};
