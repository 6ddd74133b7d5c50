/**
 * The text of a `.env` file into secrets of one namespace: all of it or nothing. What it says of a line is its number and
 * a reason, never a part of it.
 */
import { badImport } from "../../config/env-faults.ts";
import { type EnvEntry, readEnvFile } from "../../config/env-file.ts";
import { SidekeyError } from "../../core/errors.ts";
import { SecretValue } from "../../core/secret-value.ts";
import { isPathSegment, isSecretPath } from "./path.ts";
import type { ImportEntry, Imported, ImportOptions, VaultSecrets } from "./types.ts";
import { secretValueFault } from "./value.ts";

export interface EnvImportRequest extends ImportOptions {
  /** One or more segments: NAME becomes NAMESPACE/NAME. */
  readonly namespace: string;
  readonly content: string;
}

export interface EnvImport {
  /** Of this text's names that are no empty ones, in its order; in a dry run what would become of them. */
  readonly imported: readonly Imported[];
  /** Names without a value: a placeholder to be filled in, or a switch that is off. */
  readonly empty: readonly string[];
}

export interface EnvSecrets {
  readonly entries: readonly ImportEntry[];
  readonly empty: readonly EnvEntry[];
  /** `line 3: its name …` */
  readonly faults: readonly string[];
}

/** What lines become under a namespace; with faults, nothing of it may be stored. */
export const envSecrets = (lines: readonly EnvEntry[], namespace: string, type?: string): EnvSecrets => {
  const entries: ImportEntry[] = [];
  const faults: string[] = [];
  for (const { name, value: text, line } of lines) {
    if (text === "") continue;
    const path = `${namespace}/${name}`;
    const value = SecretValue.fromText(text);
    const fault = secretValueFault(value, type);
    if (fault !== undefined) faults.push(`line ${line}: the value ${fault}`);
    else if (!isSecretPath(path)) faults.push(`line ${line}: its name cannot be part of a secret's path`);
    else entries.push({ path, value });
  }
  return { entries, empty: lines.filter(({ value }) => value === ""), faults };
};

/** Errors: VAULT_BAD_PATH (namespace), VAULT_BAD_IMPORT, VAULT_BAD_METADATA, VAULT_PATH_TAKEN. */
export const importEnv = async (
  secrets: Pick<VaultSecrets, "importAll">,
  { namespace, content, ...options }: EnvImportRequest,
): Promise<EnvImport> => {
  if (!namespace.split("/").every(isPathSegment) || !isSecretPath(`${namespace}/NAME`)) {
    throw new SidekeyError("VAULT_BAD_PATH", { detail: `${JSON.stringify(namespace.slice(0, 120))} is no namespace.` });
  }
  const { entries: lines, problems } = readEnvFile(Buffer.from(content));
  if (problems.length > 0) throw badImport(problems.map(({ line, reason }) => `line ${line} ${reason}`));
  const { entries, empty, faults } = envSecrets(lines, namespace, options.describe?.type);
  if (faults.length > 0) throw badImport(faults, "Take these lines out, or give the import a type that fits them.");
  return { imported: await secrets.importAll(entries, options), empty: empty.map(({ name }) => name) };
};
