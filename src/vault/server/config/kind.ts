/** What a vault's file is told from a sidecar's by. Pure, and loads nothing: every command that knows both asks. */

export const DEFAULT_VAULT_FILE = "vault.yaml";

/**
 * Whether a file is the vault's and not a sidecar's: by its name, `vault.yaml` or `NAME-vault.yaml`, else by a key at its
 * beginning of a line that only the vault's has.
 */
export const isVaultFile = (name: string, text: string): boolean =>
  /(?:^|[/._-])vault\.ya?ml$/.test(name) || /^(?:storage|tokens|approvals)[ \t]*:/m.test(text);
