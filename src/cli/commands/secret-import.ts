/**
 * `secret import`: the keys of a `.env` file into the vault, all of them or none. It prints names and versions and never a
 * value, nor any part of a line that it could not read.
 */
import { resolve } from "node:path";
import { badImport } from "../../config/env-faults.ts";
import type { EnvEntry } from "../../config/env-file.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { ImportEntry, Imported } from "../../vault/index.ts";
import { onRecord, operatorName, secretEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import { readUpTo } from "../env-input.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { table } from "../table.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const secretImport: CommandSpec = {
  name: "secret import",
  summary: "store the keys of a .env file, all or none; prints names and versions, never values",
  parameters: [{ syntax: "<file>", summary: "the .env file; - is standard input" }],
  options: [
    { flags: "--prefix <path>", summary: "where they go: NAME becomes the secret PREFIX/NAME", required: true },
    { flags: "--only <name>", summary: "this name and no other; may be repeated", repeat: true },
    { flags: "--dry-run", summary: "say what would be stored, and store nothing" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [
    "sidekey secret import .env --prefix production/app --dry-run",
    "sidekey secret import .env --prefix production/app --only OPENAI_API_KEY",
    "sops -d secrets.env | sidekey secret import - --prefix production/app",
  ],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("secret import", invocation);
    const [file = ""] = parameters;
    const prefix = (options.text("prefix") ?? "").replace(/\/$/, "");
    const dryRun = options.flag("dry-run");
    const wanted = await readWanted(invocation, file);
    const { entries, empty } = await toSecrets(wanted.lines, prefix);
    const imported = asksServer(invocation)
      ? await storeAtServer(invocation, wanted, prefix, dryRun)
      : await store(invocation, entries, dryRun);
    if (options.flag("json")) {
      terminal.printJson({ dry_run: dryRun, imported, skipped: empty.map(({ name, line }) => ({ name, line })) });
      return EXIT_OK;
    }
    if (imported.length > 0) {
      const rows = imported.map(({ path, version, change }) => [path, String(version ?? "-"), change]);
      terminal.print(table(["PATH", "VERSION", "CHANGE"], rows));
    }
    for (const { name, line } of empty) terminal.note(`skipped ${name} (line ${line}): it is empty`);
    if (dryRun) terminal.note("nothing was stored: this was a dry run");
    else if (file !== "-" && imported.length > 0) {
      terminal.note(
        `${file} still holds these values in plain text. When nothing reads it any more: rm ${file}\n` +
          "sidekey: a copy in git, a backup or a chat stays: give such keys a new value ('sidekey secret rotate')",
      );
    }
    return EXIT_OK;
  },
};

interface Wanted {
  /** What the lines' places count in. */
  readonly text: string;
  readonly lines: readonly EnvEntry[];
}

/** Errors: CONFIG_USAGE (file, a name that is not in it), VAULT_BAD_IMPORT, VAULT_BAD_VALUE (standard input). */
const readWanted = async (invocation: Invocation, file: string): Promise<Wanted> => {
  const { options, terminal, directory } = invocation;
  const { MAX_ENV_BYTES, readEnvFile } = await import("../../config/env-file.ts");
  const bytes =
    file === "-"
      ? await terminal.readSecret("One line NAME=VALUE (not shown)")
      : await readUpTo(resolve(directory, file), MAX_ENV_BYTES + 1);
  const { text, entries, problems } = readEnvFile(bytes);
  const only = options.list("only");
  const known = new Set(entries.map(({ name }) => name));
  const absent = only.filter((name) => !known.has(name));
  // A line that cannot be read might be the one that was asked for, or hide the next.
  if (problems.length > 0) {
    throw badImport(
      problems.map(({ line, reason }) => `line ${line} ${reason}`),
      "Mend these lines, or take them out and store their values with 'sidekey secret set'.",
    );
  }
  if (absent.length > 0) {
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `The file has no ${absent.map((name) => `'${name}'`).join(", ")}; nothing was stored.`,
      hint: "See what it has: the same command with --dry-run and without --only.",
    });
  }
  return { text, lines: only.length === 0 ? entries : entries.filter(({ name }) => only.includes(name)) };
};

interface Secrets {
  readonly entries: readonly ImportEntry[];
  /** A placeholder to be filled in, or a switch that is off: no secret is empty. */
  readonly empty: readonly EnvEntry[];
}

/** Errors: VAULT_BAD_PATH, VAULT_BAD_IMPORT. */
const toSecrets = async (wanted: readonly EnvEntry[], prefix: string): Promise<Secrets> => {
  const { checkSecretPath } = await import("../../vault/secrets/path.ts");
  const { envSecrets } = await import("../../vault/secrets/env-import.ts");
  checkSecretPath(`${prefix}/NAME`);
  const { entries, empty, faults } = envSecrets(wanted, prefix);
  if (faults.length > 0) throw badImport(faults, "Name the others: --only NAME takes the named ones alone.");
  return { entries, empty };
};

const store = async (
  invocation: Invocation,
  entries: readonly ImportEntry[],
  dryRun: boolean,
): Promise<readonly Imported[]> => {
  if (entries.length === 0) return [];
  if (dryRun) {
    return withVault(
      invocation,
      ({ vault }) => vault.secrets.importAll(entries, { dryRun }),
      () => entries.map(({ path }) => ({ path, version: 1, change: "new" as const })),
    );
  }
  return withVault(invocation, ({ vault, config, source }) =>
    onRecord(config, {
      events: entries.map(({ path }) => secretEvent("import", source, path)),
      change: () => vault.secrets.importAll(entries, { by: operatorName() }),
      done: (imported) =>
        imported
          .filter(({ change }) => change !== "same")
          .map(({ path, version }) => secretEvent("import", source, path, version)),
    }),
  );
};

interface Done {
  readonly path: string;
  readonly version?: number;
  readonly change: string;
}

/**
 * In one call, which the vault does as a whole or not at all. What is sent is each value as the file spells it, since the
 * vault reads such files alike.
 */
const storeAtServer = async (
  invocation: Invocation,
  { text, lines }: Wanted,
  namespace: string,
  dryRun: boolean,
): Promise<readonly Done[]> => {
  const filled = lines.filter(({ value }) => value !== "");
  if (filled.length === 0) return [];
  const content = filled.map(({ name, start, end }) => `${name}=${text.slice(start, end)}`).join("\n");
  const { imported, skipped } = await withServer("secret import", invocation, (vault) =>
    vault.importEnv({ namespace, content, dryRun }),
  );
  const pathOf = (name: string): string => (name.startsWith(`${namespace}/`) ? name : `${namespace}/${name}`);
  return [
    ...imported.map((name) => ({ path: pathOf(name), change: dryRun ? "would be stored" : "stored" })),
    ...skipped.map((name) => ({ path: pathOf(name), change: "kept" })),
  ];
};
