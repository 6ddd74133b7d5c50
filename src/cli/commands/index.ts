/** The commands, in the order of `--help`. One more is one file and one line here. */
import type { CommandSpec } from "../command.ts";
import { agentCreate } from "./agent-create.ts";
import { agentEnroll } from "./agent-enroll.ts";
import { agentList } from "./agent-list.ts";
import { agentRevoke } from "./agent-revoke.ts";
import { agentUpdate } from "./agent-update.ts";
import { approvalApprove } from "./approval-approve.ts";
import { approvalDeny } from "./approval-deny.ts";
import { approvalList } from "./approval-list.ts";
import { auditExport } from "./audit-export.ts";
import { auditSearch } from "./audit-search.ts";
import { auditTail } from "./audit-tail.ts";
import { auditVerify } from "./audit-verify.ts";
import { caExport } from "./ca-export.ts";
import { caPrint } from "./ca-print.ts";
import { caRotate } from "./ca-rotate.ts";
import { check } from "./check.ts";
import { completion } from "./completion.ts";
import { doctor } from "./doctor.ts";
import { env } from "./env.ts";
import { explain } from "./explain.ts";
import { identity } from "./identity.ts";
import { init } from "./init.ts";
import { reload } from "./reload.ts";
import { run } from "./run.ts";
import { secretGet } from "./secret-get.ts";
import { secretHistory } from "./secret-history.ts";
import { secretImport } from "./secret-import.ts";
import { secretList } from "./secret-list.ts";
import { secretRm } from "./secret-rm.ts";
import { secretRollback } from "./secret-rollback.ts";
import { secretRotate } from "./secret-rotate.ts";
import { secretSet } from "./secret-set.ts";
import { sidecarList } from "./sidecar-list.ts";
import { sidecarRevoke } from "./sidecar-revoke.ts";
import { start } from "./start.ts";
import { status } from "./status.ts";
import { test } from "./test.ts";
import { tokenInspect } from "./token-inspect.ts";
import { tokenIssue } from "./token-issue.ts";
import { tokenList } from "./token-list.ts";
import { tokenRevoke } from "./token-revoke.ts";
import { vaultBackup } from "./vault-backup.ts";
import { vaultInit } from "./vault-init.ts";
import { vaultRekey } from "./vault-rekey.ts";
import { vaultRestore } from "./vault-restore.ts";
import { vaultServe } from "./vault-serve.ts";

export const COMMANDS: readonly CommandSpec[] = [
  init,
  run,
  start,
  check,
  explain,
  test,
  status,
  reload,
  secretSet,
  secretGet,
  secretList,
  secretRm,
  secretHistory,
  secretRotate,
  secretRollback,
  secretImport,
  tokenIssue,
  tokenInspect,
  tokenList,
  tokenRevoke,
  agentCreate,
  agentList,
  agentUpdate,
  agentRevoke,
  agentEnroll,
  sidecarList,
  sidecarRevoke,
  approvalList,
  approvalApprove,
  approvalDeny,
  vaultInit,
  vaultServe,
  vaultBackup,
  vaultRestore,
  vaultRekey,
  auditTail,
  auditSearch,
  auditVerify,
  auditExport,
  caPrint,
  caExport,
  caRotate,
  env,
  identity,
  doctor,
  completion,
];

export const GROUPS: Readonly<Record<string, string>> = {
  secret: "the secrets of a vault: this machine's, or a server's with --vault",
  token: "its scoped tokens",
  agent: "who may ask it for tokens, and whose sidecars may use them",
  sidecar: "whose own keys may redeem what the tokens of agents may use",
  approval: "what agents ask for and a person has to allow",
  vault: "the vault as a whole: make, serve, back up, restore, give a new key",
  audit: "read and verify the audit",
  ca: "the CA that clients must trust",
};
