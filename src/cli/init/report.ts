/** What `init` says: names, places and versions, and what to do next; never a value. */
import { relative } from "node:path";
import { SidekeyError } from "../../core/errors.ts";
import type { Imported } from "../../vault/index.ts";
import type { Invocation } from "../command.ts";
import { FIRST_STEPS } from "../first-steps.ts";
import { table } from "../table.ts";
import { keyWords, locateVault } from "../vault/access.ts";
import { routeLines } from "./file-text.ts";
import type { FoundKey, Recognised } from "./recognise.ts";

export interface Places {
  /** The file that is written, absolute. */
  readonly target: string;
  /** The `.env` file, absolute. */
  readonly envPath: string;
}

export interface Outcome extends Places {
  readonly recognised: Recognised;
  readonly imported: readonly Imported[];
  /** False: it was there, the very same. */
  readonly written: boolean;
  readonly keep: boolean;
  /** Lines of the `.env` file, from 1, that hold a key all the same. */
  readonly leftover: readonly number[];
  /** Other names of the `.env` file, which keep its old content. */
  readonly otherNames: number;
}

/** As one would type it from here. */
export const shown = ({ directory }: Pick<Invocation, "directory">, path: string): string => {
  const near = relative(directory, path);
  return near === "" || near.startsWith("..") ? path : near;
};

export const printFound = (invocation: Invocation, envPath: string, { found, left }: Recognised): void => {
  const { terminal } = invocation;
  const rows = found.map(({ entries, preset, path }) => [namesOf(entries), preset.title, path]);
  terminal.print(table([`IN ${shown(invocation, envPath)}`, "FOR", "GOES TO"], rows));
  for (const { name, line, reason } of left) terminal.note(`left alone: ${name} (line ${line}) ${reason}`);
};

export const printBegun = async (invocation: Invocation, target: string, written: boolean): Promise<void> => {
  const { options, terminal } = invocation;
  if (options.flag("json")) {
    terminal.printJson({ file: target, written });
    return;
  }
  terminal.print(written ? `wrote ${shown(invocation, target)}` : `${shown(invocation, target)} is there already`);
  await printKey(invocation);
  const [, store = "", run = ""] = FIRST_STEPS;
  terminal.print(nextSteps([store, "sidekey check", run]));
};

export const printTaken = async (invocation: Invocation, outcome: Outcome): Promise<void> => {
  const { options, terminal } = invocation;
  const { target, recognised, imported, written, keep } = outcome;
  const { found, done, left } = recognised;
  const env = shown(invocation, outcome.envPath);
  if (options.flag("json")) {
    terminal.printJson({
      file: target,
      written,
      found: found.map(({ entries, preset, path }) => ({
        variables: entries.map(({ name }) => name),
        preset: preset.name,
        secret: path,
        version: imported.find((one) => one.path === path)?.version,
      })),
      done: done.map(({ name }) => name),
      left,
      replaced: !keep,
    });
  } else {
    const routes = found.map(({ preset }) => preset.name).join(", ");
    terminal.print(`${written ? "wrote" : "left as it was:"} ${shown(invocation, target)}: ${routes}`);
    for (const { path, version, change } of imported) terminal.print(`stored ${path} version ${version} (${change})`);
    if (!keep) terminal.print(`${env} has placeholders in their place`);
    await printKey(invocation);
  }
  if (keep) terminal.note(`${env} still holds the keys, and whoever can read it has them`);
  for (const line of outcome.leftover) terminal.note(`${env}:${line} still holds one of the keys: remove it by hand`);
  if (outcome.otherNames > 0) terminal.note(`${env} had another name (a hard link), which still holds the keys`);
  if (done.length > 0) {
    terminal.note(`${namesOf(done)} had placeholders already, so no route was written for them`);
  }
  if (!keep) terminal.note(NO_BACKUP);
  if (options.flag("json")) return;
  const host = found[0]?.preset.match[0]?.host;
  const url = host?.kind === "exact" ? `https://${host.authority.host.name}/` : "URL";
  terminal.print(nextSteps(["sidekey check", `sidekey explain GET ${url}`, FIRST_STEPS.at(-1) ?? ""]));
};

const NO_BACKUP =
  "no backup was made. What was in that file may be in git, in a backup or in an editor's cache: give such keys a new " +
  "value ('sidekey secret rotate')";

const printKey = async (invocation: Invocation): Promise<void> => {
  const { keys } = await locateVault(invocation);
  const where = "file" in keys ? shown(invocation, keys.file) : keyWords(keys);
  invocation.terminal.print(`the vault's key is ${where}: without it nobody can read what is stored, so keep a copy`);
};

const nextSteps = (commands: readonly string[]): string =>
  ["", "Next:", ...commands.map((command) => `  ${command}`)].join("\n");

const namesOf = (entries: FoundKey["entries"]): string => entries.map(({ name }) => name).join(", ");

/** For a `.env` file without a key that is new. Errors: CONFIG_USAGE, but where there is nothing left to do. */
export const printNothingNew = (invocation: Invocation, { target, envPath }: Places, recognised: Recognised): void => {
  const { options, terminal } = invocation;
  const { done, left } = recognised;
  if (done.length === 0) {
    for (const { name, line, reason } of left) terminal.note(`${name} (line ${line}) ${reason}`);
    throw usage(
      `${envPath} has no key that Sidekey knows; nothing was changed.`,
      "Begin with 'sidekey init', and add routes for them; the providers that it knows: docs/presets.md.",
    );
  }
  if (options.flag("json")) {
    terminal.printJson({ file: target, written: false, found: [], done: done.map(({ name }) => name), left });
  }
  terminal.note(`nothing to do: ${namesOf(done)} of ${shown(invocation, envPath)} are placeholders already`);
};

/** What to do instead, for a file that is there and not ours to change. */
export const alreadyThere = (target: string): SidekeyError =>
  usage(
    `${target} is there already; nothing was changed.`,
    `See whether it is right: sidekey check. To begin anew, move it away: ${moveAway(target)}`,
  );

export const alreadyThereFor = ({ target, envPath }: Places, found: readonly FoundKey[]): SidekeyError => {
  // `secret import` names each secret by its variable, and does not put several together.
  const simple = found.filter(({ preset }) => preset.secret === undefined);
  const composed = found.filter(({ preset }) => preset.secret !== undefined);
  const variable = ({ entries }: FoundKey): string => entries[0]?.name ?? "";
  const only = simple.map((key) => `--only ${variable(key)}`).join(" ");
  const lines = [
    "Add to its routes what you need of these, and store their values:",
    "",
    ...routeLines(simple, (key) => `production/${variable(key)}`),
    ...(simple.length === 0 ? [] : ["", `  sidekey secret import ${envPath} --prefix production ${only}`]),
    ...composed.map(
      ({ preset }) => `  (${preset.title}: its secret is made of several variables, see docs/presets.md)`,
    ),
    "",
    `Or begin anew: ${moveAway(target)}`,
  ];
  return usage(`${target} is there already; nothing was changed.`, lines.join("\n"));
};

const moveAway = (target: string): string => `mv ${target} ${target}.old`;

const usage = (detail: string, hint: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail, hint });
