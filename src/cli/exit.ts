/** Exit codes that scripts can use. */
import type { ErrorCode } from "../core/errors.ts";

export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;

/** Of `run`, as env(1) and timeout(1) have them. */
export const EXIT_RUN_FAILED = 125;
export const EXIT_RUN_NOT_EXECUTABLE = 126;
export const EXIT_RUN_NOT_FOUND = 127;
export const EXIT_SIGNAL_BASE = 128;

/** What the person can mend in the command line or in a file, and nothing else. */
const USAGE_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "CONFIG_INVALID",
  "CONFIG_UNREADABLE",
  "CONFIG_USAGE",
  "CLIENT_BAD_ADDRESS",
  "IDENTITY_BAD_SCOPE",
  "VAULT_BAD_BACKUP",
  "VAULT_BAD_IMPORT",
  "VAULT_BAD_METADATA",
  "VAULT_BAD_PATH",
  "VAULT_BAD_VALUE",
  "VAULT_SERVER_TLS",
  "VAULT_STORE_DAMAGED",
]);

export const exitCodeOf = (code: ErrorCode): number => (USAGE_CODES.has(code) ? EXIT_USAGE : EXIT_FAILED);
