/**
 * `init`: a first `sidekey.yaml`, the embedded vault and its key; with `--from`, the known keys of a `.env` file go into
 * the vault and placeholders take their place. It never prints a value, never writes over a file, and can be started
 * again where it was stopped: the file comes first, then the vault, and the `.env` file is touched last.
 */
import { realpathSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import type { EnvEntry, EnvFile } from "../../config/env-file.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import type { Imported } from "../../vault/index.ts";
import { adminEvent, onRecord, operatorName, secretEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import { DEFAULT_NAME, findConfigFile } from "../context.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";
import type { FileToReplace } from "../init/env-rewrite.ts";
import { fileText } from "../init/file-text.ts";
import { readIfThere, removeOldDrafts, writeNew } from "../init/new-file.ts";
import type { FoundKey, Recognised } from "../init/recognise.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { withVault } from "../vault/access.ts";

export const init: CommandSpec = {
  name: "init",
  summary: "write a first sidekey.yaml and make the vault; with --from, take the keys of a .env file along",
  options: [
    { flags: "--from <file>", summary: "a .env file: its known keys go into the vault, placeholders take their place" },
    { flags: "--keep", summary: "leave the values in that file" },
    { ...CONFIG_OPTION, summary: "the file to write (else $SIDEKEY_CONFIG, else ./sidekey.yaml)" },
    JSON_OPTION,
  ],
  examples: ["sidekey init", "sidekey init --from .env", "sidekey init --from .env --keep"],
  async run(invocation) {
    refuseInsideRun("init", invocation);
    const { directory, options } = invocation;
    const target = findConfigFile(invocation) ?? join(directory, DEFAULT_NAME);
    const from = options.text("from");
    removeOldDrafts(target, Date.now());
    if (from !== undefined) return takeKeys(invocation, target, resolve(directory, from));
    if (!options.flag("keep")) return begin(invocation, target);
    throw new SidekeyError("CONFIG_USAGE", {
      detail: "--keep says what becomes of a .env file.",
      hint: "Name it: sidekey init --from .env --keep",
    });
  },
};

/** A file with an example, and an empty vault. */
const begin = async (invocation: Invocation, target: string): Promise<number> => {
  const { alreadyThere, printBegun } = await import("../init/report.ts");
  const wrote = writeNew(target, fileText([]));
  if (wrote === "other") throw alreadyThere(target);
  await importKeys(invocation, target, { found: [], isNew: wrote === "new" });
  await printBegun(invocation, target, wrote === "new");
  return EXIT_OK;
};

/** The keys of a `.env` file, with a file that routes them. */
const takeKeys = async (invocation: Invocation, target: string, envPath: string): Promise<number> => {
  const { options, terminal } = invocation;
  const { alreadyThereFor, printFound, printNothingNew, printTaken, shown } = await import("../init/report.ts");
  const keys = await readKeys(target, envPath);
  // Beside the file itself, where `envPath` is a link to it.
  removeOldDrafts(realpathSync(envPath), Date.now());
  const { recognised } = keys;
  const { found } = recognised;
  if (found.length === 0) {
    printNothingNew(invocation, { target, envPath }, recognised);
    return EXIT_OK;
  }
  const text = fileText(found);
  const present = readIfThere(target);
  if (present !== undefined && present !== text) throw alreadyThereFor({ target, envPath }, found);
  const keep = options.flag("keep");
  const { fileToReplace } = await import("../init/env-rewrite.ts");
  // Before anything is changed: with a file that cannot be replaced, the person decides.
  const replaceable = keep ? undefined : fileToReplace(envPath, keys.bytes);
  if (!options.flag("json")) printFound(invocation, envPath, recognised);
  const last = keep ? "" : `, and put placeholders into ${shown(invocation, envPath)}`;
  if (!(await terminal.confirm(`Store the above, write ${shown(invocation, target)}${last}?`))) {
    terminal.note("nothing was changed");
    return EXIT_FAILED;
  }
  const wrote = writeNew(target, text);
  if (wrote === "other") throw alreadyThereFor({ target, envPath }, found);
  const written = wrote === "new";
  const imported = await importKeys(invocation, target, { found, isNew: written });
  const leftover = replaceable === undefined ? [] : await replaceValues(keys, replaceable);
  const otherNames = replaceable?.otherNames ?? 0;
  await printTaken(invocation, { target, envPath, recognised, imported, written, keep, leftover, otherNames });
  return EXIT_OK;
};

interface Keys {
  readonly file: EnvFile;
  readonly bytes: Buffer;
  readonly recognised: Recognised;
  /** Of each route that is to be. */
  readonly placeholderOf: (key: FoundKey) => string;
}

/** Errors: CONFIG_USAGE (file), VAULT_BAD_IMPORT (lines). */
const readKeys = async (target: string, envPath: string): Promise<Keys> => {
  const { MAX_ENV_BYTES, readEnvFile } = await import("../../config/env-file.ts");
  const { badImport } = await import("../../config/env-faults.ts");
  const { readUpTo } = await import("../env-input.ts");
  const bytes = await readUpTo(envPath, MAX_ENV_BYTES + 1);
  const file = readEnvFile(bytes);
  if (file.problems.length > 0) {
    throw badImport(
      file.problems.map(({ line, reason }) => `line ${line} ${reason}`),
      "Mend these lines; a line that cannot be read might hide the next.",
    );
  }
  const { createPresetLibrary } = await import("../../sidecar/app/config/presets.ts");
  const { placeholderOf } = await import("../../sidecar/app/config/placeholder.ts");
  const { recognise } = await import("../init/recognise.ts");
  const library = createPresetLibrary();
  const presets = library.names().flatMap((name) => library.get(name) ?? []);
  const fresh = await load(target, fileText([]));
  if (fresh === undefined) throw new SidekeyError("INTERNAL", { detail: "what init writes is no valid file" });
  const toBe = new Map(presets.map((one) => [one.name, placeholderOf(one.name, fresh.state, one.placeholder)]));
  const present = await load(target, readIfThere(target) ?? "");
  const known = new Set([...toBe.values(), ...(present?.routes ?? []).map(({ placeholder }) => placeholder)]);
  return {
    file,
    bytes,
    recognised: recognise(file.entries, presets, (text) => known.has(text)),
    placeholderOf: ({ preset }) => toBe.get(preset.name) ?? "",
  };
};

/** The configuration that this text is at this place; undefined where it has problems. */
const load = async (target: string, text: string): Promise<SidecarConfig | undefined> => {
  const { loadConfig } = await import("../../sidecar/app/config/config.ts");
  const result = loadConfig({ file: target, text });
  return "config" in result ? result.config : undefined;
};

/** Into the vault of the file, which is made where it is not there yet. A file that was written for it goes when that fails. */
const importKeys = async (
  invocation: Invocation,
  target: string,
  { found, isNew }: { readonly found: readonly FoundKey[]; readonly isNew: boolean },
): Promise<readonly Imported[]> => {
  const { hostsOf } = await import("../init/recognise.ts");
  const entries = found.map(({ path, value, preset }) => ({ path, value, hosts: hostsOf(preset) }));
  try {
    return await withVault(invocation, ({ vault, config, source }) =>
      onRecord(config, {
        events: [adminEvent("init"), ...entries.map(({ path }) => secretEvent("import", source, path))],
        change: async () => {
          const imported = await vault.secrets.importAll(entries, { by: operatorName() });
          // Read back, before the only other copy goes.
          for (const { path, value } of entries) {
            const stored = (await vault.secrets.get(path)).value;
            if (stored.lend((is) => value.lend((was) => is.equals(was)))) continue;
            throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `${path} reads otherwise than it was stored.` });
          }
          return imported;
        },
        done: (imported) => imported.map(({ path, version }) => secretEvent("import", source, path, version)),
      }),
    );
  } catch (error) {
    if (isNew) rmSync(target, { force: true });
    throw error;
  }
};

/** Lines of the new text, from 1, that hold one of the values all the same. Errors: those of `replaceFile`. */
const replaceValues = async (keys: Keys, replaceable: FileToReplace): Promise<readonly number[]> => {
  const { linesWith, replaceFile, withPlaceholders } = await import("../init/env-rewrite.ts");
  const placeholders = new Map<EnvEntry, string>();
  for (const key of keys.recognised.found) {
    for (const entry of key.entries) placeholders.set(entry, keys.placeholderOf(key));
  }
  const text = withPlaceholders(keys.file, placeholders);
  replaceFile(replaceable, text);
  const values = [...placeholders.keys()].map(({ value }) => value);
  return linesWith(text, values);
};
