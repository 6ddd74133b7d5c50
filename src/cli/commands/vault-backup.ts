/** `vault backup`: the sealed secrets of a store as one file, while others use and change it. */
import { dirname, resolve } from "node:path";
import { systemClock } from "../../core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import {
  FileFault,
  PRIVATE_MODE,
  readWholeFile,
  replaceFile,
  syncDirectory,
  systemCode,
} from "../../core/whole-file.ts";
import type { Backup, VaultKeySource } from "../../vault/index.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { keyPlace, keyWords, locateVault, SOURCE_OPTION, withVault } from "../vault/access.ts";
import { backupWords } from "../vault/backup-words.ts";

export const vaultBackup: CommandSpec = {
  name: "vault backup",
  summary: "write all secrets and agents, sealed, into one file; works while others use the vault",
  parameters: [{ syntax: "<file>", summary: "the file; an older backup there is replaced, anything else is not" }],
  options: [SOURCE_OPTION, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey vault backup /backup/sidekey-$(date +%F)", "sidekey vault backup vault.backup --json"],
  async run(invocation) {
    const { parameters, options, terminal, directory } = invocation;
    refuseInsideRun("vault backup", invocation);
    const file = resolve(directory, parameters[0] ?? "");
    await refuseToReplace(file);
    const { keys } = await locateVault(invocation);
    const event = ({ source }: { source: string }) => adminEvent(`vault backup of ${source} to ${file}`);
    const backup = await withVault(
      invocation,
      (opened) =>
        onRecord(opened.config, {
          events: [event(opened)],
          isLong: true,
          change: async () => write(file, await opened.vault.backup(), keys),
          done: () => [event(opened)],
        }),
      (place) => {
        throw new SidekeyError("CONFIG_USAGE", {
          detail: `There is no vault in ${place}, so nothing to back up.`,
          hint: "Name its file with -c FILE, or its source with --source NAME.",
        });
      },
    );
    const { secrets, agents, generation, createdAt } = backup;
    if (options.flag("json")) {
      const made = new Date(createdAt).toISOString();
      terminal.printJson({ file, secrets, agents, generation, created_at: made, key: keyPlace(keys) });
      return EXIT_OK;
    }
    terminal.print(`backed up ${backupWords(backup)} to ${file}, and read it back`);
    terminal.note(
      `its key is not in it, and opens it: keep a copy of ${keyWords(keys)}, in another place than this file`,
    );
    return EXIT_OK;
  },
};

/** Durable and read back before it has its name. Errors: VAULT_BACKUP_FAILED. */
const write = async (file: string, text: string, keys: VaultKeySource): Promise<Backup> => {
  const { MAX_BACKUP_BYTES, openBackup } = await import("../../vault/index.ts");
  let backup: Backup | undefined;
  try {
    await replaceFile(file, text, PRIVATE_MODE, async (draft) => {
      const limits = { maxBytes: MAX_BACKUP_BYTES, isPrivate: false };
      backup = await openBackup((await readWholeFile(draft, limits)) ?? "", { keys, clock: systemClock });
    });
    await syncDirectory(dirname(file));
  } catch (error) {
    const why = isSidekeyError(error) ? "what was written does not read back" : reason(error);
    throw new SidekeyError("VAULT_BACKUP_FAILED", { detail: `${file}: ${why}.`, cause: error });
  }
  if (backup === undefined) throw new TypeError("a backup that was not read back");
  return backup;
};

const reason = (error: unknown): string => (error instanceof FileFault ? error.reason : systemCode(error));

/** A slip of the hand (`vault backup sidekey.yaml`) must not cost a file. Errors: CONFIG_USAGE. */
const refuseToReplace = async (file: string): Promise<void> => {
  const { isBackup, MAX_BACKUP_BYTES } = await import("../../vault/index.ts");
  let found: string | undefined;
  try {
    found = await readWholeFile(file, { maxBytes: MAX_BACKUP_BYTES, isPrivate: false });
  } catch (error) {
    throw new SidekeyError("CONFIG_USAGE", { detail: `${file} ${reason(error)}.`, hint: "Choose another name." });
  }
  if (found === undefined || isBackup(found)) return;
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `${file} is there already and is no backup; it was left as it is.`,
    hint: "Choose another name.",
  });
};
