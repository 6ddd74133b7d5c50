/** `sidekey/client`: the client alone. Importing it must never load the sidecar, the vault's store or the command line. */
export { SidekeyError } from "../core/errors.ts";
export { SecretValue } from "../core/secret-value.ts";
export { AgentVault, type AgentVaultOptions, type Health } from "./agent-vault.ts";
export type { AgentInfo, AgentRequest, AgentsApi, AgentUpdate } from "./agents.ts";
export type { Page, PageRequest } from "./answers.ts";
export type { ApprovalInfo, ApprovalsApi } from "./approvals.ts";
export type { AuditEntry, AuditFilter, AuditPage, AuditRequest } from "./audit.ts";
export type { AuditExportRequest } from "./audit-export.ts";
export {
  ApprovalRequiredError,
  AuthError,
  BadAnswerError,
  ConflictError,
  NetworkError,
  NotFoundError,
  RateLimitError,
  ScopeError,
  SecretExpiredError,
  SecretNotFoundError,
  UnavailableError,
  ValidationError,
  VaultClientError,
} from "./errors.ts";
export type { EventsRequest, VaultEvent } from "./events.ts";
export type { Imported, ImportRequest } from "./import-env.ts";
export { allPages } from "./pages.ts";
export type { ProofKey } from "./proof.ts";
export type { Redeemed, RedeemRequest, Unchanged } from "./redeem.ts";
export type {
  ListRequest,
  ReadOptions,
  RotateOptions,
  SecretInfo,
  SecretRecord,
  SecretTraits,
  SecretVersion,
  WriteOptions,
} from "./secrets.ts";
export type { EnrolRequest, SidecarInfo, SidecarsApi } from "./sidecars.ts";
export type { IssuedToken, TokenInfo, TokenRequest, TokensApi } from "./tokens.ts";
