/**
 * Which files make up a log: `audit.jsonl` and, older and older, `audit.jsonl.1`, `.2`, …; and which logs lie in a
 * state directory: the main one and `audit-<id>.jsonl` of each `run`, each a chain with a head of its own.
 */
import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { type AuditFs, isAbsent, statIfThere } from "./file-access.ts";
import { headPathOf } from "./head.ts";

export const rotatedPath = (path: string, age: number): string => `${path}.${age}`;

/** Files that `shiftFiles` will delete, oldest first: what would be older than `.keep`. */
export const surplusFiles = (path: string, keep: number): string[] =>
  filesOfLog(path).filter((file) => file !== path && Number(file.slice(path.length + 1)) >= keep);

/** Makes `path` free: `path` becomes `.1`, `.1` becomes `.2`, …, and what was `.keep` or older is gone. */
export const shiftFiles = (fs: AuditFs, path: string, keep: number): void => {
  // Oldest first: wherever this stops, what is left has no hole.
  for (const file of surplusFiles(path, keep)) fs.unlinkSync(file);
  let oldest = 1;
  while (oldest < keep && statIfThere(fs, rotatedPath(path, oldest)) !== undefined) oldest += 1;
  for (let age = oldest; age > 1; age--) fs.renameSync(rotatedPath(path, age - 1), rotatedPath(path, age));
  fs.renameSync(path, rotatedPath(path, 1));
};

/** The files of one log that are there, oldest first. */
export const filesOfLog = (path: string): string[] => {
  const directory = dirname(path);
  const prefix = `${basename(path)}.`;
  const ages: number[] = [];
  for (const name of namesIn(directory)) {
    const age = name.startsWith(prefix) ? name.slice(prefix.length) : "";
    if (/^[1-9][0-9]{0,5}$/.test(age)) ages.push(Number(age));
  }
  const files = ages.sort((a, b) => b - a).map((age) => rotatedPath(path, age));
  if (existsSync(path)) files.push(path);
  return files;
};

export interface AuditLog {
  /** The file being written. */
  readonly path: string;
  readonly headPath: string;
  /** The id of the `run` it belongs to; undefined for the main log and the vault's. */
  readonly run: string | undefined;
}

/** Its file, what was rotated of it, and its head: one alone tells that there was a log. */
const OF_RUN = /^audit-([A-Za-z0-9._-]+?)\.(?:jsonl(?:\.[1-9][0-9]{0,5})?|head)$/;

/** The log of `vault serve`, in the state directory that it shares with a sidecar. */
const OF_VAULT = /^vault-audit\.(?:jsonl(?:\.[1-9][0-9]{0,5})?|head)$/;

/** Where `vault serve` has its log unless its file says otherwise. */
export const vaultLogPath = (stateDir: string): string => join(stateDir, "vault-audit.jsonl");

/** The vault's server may have a key of its own. */
export const isVaultLog = (path: string): boolean => OF_VAULT.test(basename(path));

/** The main log first (also when it has no file yet), then the logs of `run`, by name, then the vault's. */
export const findAuditLogs = (stateDir: string, mainPath: string): AuditLog[] => {
  const main = resolve(mainPath);
  const logs: AuditLog[] = [{ path: main, headPath: headPathOf(main), run: undefined }];
  const names = namesIn(stateDir);
  const runs = new Set(names.flatMap((name) => OF_RUN.exec(name)?.[1] ?? []));
  for (const run of [...runs].sort()) {
    const path = resolve(join(stateDir, `audit-${run}.jsonl`));
    if (path !== main) logs.push({ path, headPath: headPathOf(path), run });
  }
  const ofVault = resolve(vaultLogPath(stateDir));
  if (ofVault !== main && names.some((name) => OF_VAULT.test(name)))
    logs.push({ path: ofVault, headPath: headPathOf(ofVault), run: undefined });
  return logs;
};

const namesIn = (directory: string): string[] => {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
};
