/** `vault restore`: the secrets of a backup in the place of what is there; checked to the last row before anything changes. */
import { resolve } from "node:path";
import { systemClock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { silentLog } from "../../core/log.ts";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import { FileFault, readWholeFile } from "../../core/whole-file.ts";
import type { Restored } from "../../vault/index.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { locateVault, placeExists, SOURCE_OPTION } from "../vault/access.ts";
import { backupWords } from "../vault/backup-words.ts";

export const vaultRestore: CommandSpec = {
  name: "vault restore",
  summary: "bring back the secrets of a backup; the key that it was made with has to be in its place",
  parameters: [{ syntax: "<file>", summary: "a file of 'vault backup'" }],
  options: [
    { flags: "--replace", summary: "yes, in the place of the secrets that are there, or of a damaged vault" },
    SOURCE_OPTION,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: ["sidekey vault restore /backup/sidekey-2026-11-27", "sidekey vault restore vault.backup --replace"],
  async run(invocation) {
    const { parameters, options, terminal, directory: here } = invocation;
    refuseInsideRun("vault restore", invocation);
    const file = resolve(here, parameters[0] ?? "");
    const replace = options.flag("replace");
    const located = await locateVault(invocation);
    const { config, source, directory, database, keys } = located;
    const { openBackup, restoreSharedVault, restoreVault, storeExistsError } = await import("../../vault/index.ts");
    const backup = await openBackup(await read(file), { keys, clock: systemClock });
    if (!replace && (await placeExists(located))) {
      throw storeExistsError(directory, "To put the backup in its place: the same command with --replace.");
    }
    prepareStateDirectory(config.state);
    const madeAt = new Date(backup.createdAt).toISOString();
    const event = adminEvent(`vault restore of ${source} to ${madeAt}`);
    const restored = await onRecord(config, {
      events: [event],
      isLong: true,
      change: () =>
        database === undefined
          ? restoreVault({ directory, keys, clock: systemClock }, { backup, replace })
          : restoreSharedVault({ url: database, keys, clock: systemClock, log: silentLog }, { backup, replace }),
      done: () => [event],
    });
    const { secrets, agents } = backup;
    if (options.flag("json")) {
      const { how, keptAside = null } = restored;
      terminal.printJson({ directory, secrets, agents, created_at: madeAt, how, kept_aside: keptAside });
      return EXIT_OK;
    }
    terminal.print(`restored ${backupWords(backup)} of ${madeAt} to ${directory}`);
    for (const note of NOTES[restored.how](restored)) terminal.note(note);
    if (agents > 0) terminal.note(restored.how === "replaced" ? KNOWN_AGENTS : OLD_AGENTS);
    return EXIT_OK;
  },
};

const NOTES: Readonly<Record<Restored["how"], (restored: Restored) => readonly string[]>> = {
  made: () => [RESTART, NO_TOKENS],
  replaced: () => ["running sidecars use them with their next request; tokens are as they were"],
  rebuilt: ({ keptAside = "" }) => [
    `the damaged data are kept as ${keptAside}; remove them when nobody needs them`,
    RESTART,
    NO_TOKENS,
  ],
};

const KNOWN_AGENTS = "agents and sidecars that the vault knew already are as they were, revoked ones revoked";
const OLD_AGENTS = "agents and sidecars that were revoked after the backup was made are back: revoke them again";
const RESTART = "a sidecar that had the vault of before open refuses requests until it is restarted";
const NO_TOKENS = "tokens are in no backup: issue those anew that agents or sidecars are given by hand";

/** Errors: CONFIG_USAGE (no such file), VAULT_BAD_BACKUP. */
const read = async (file: string): Promise<string> => {
  const { MAX_BACKUP_BYTES } = await import("../../vault/index.ts");
  try {
    const text = await readWholeFile(file, { maxBytes: MAX_BACKUP_BYTES, isPrivate: false });
    if (text !== undefined) return text;
  } catch (error) {
    if (!(error instanceof FileFault)) throw error;
    throw new SidekeyError("VAULT_BAD_BACKUP", { detail: `${file} ${error.reason}.`, cause: error });
  }
  throw new SidekeyError("CONFIG_USAGE", { detail: `There is no file ${file}.`, hint: "Check the path." });
};
