/**
 * Which variables of a `.env` file hold a provider's key: by the names that its SDKs read, and by how its keys begin. A
 * key that begins like another provider's is that provider's, whatever its name. Pure; no reason holds a value.
 */

import type { EnvEntry } from "../../config/env-file.ts";
import { SecretValue } from "../../core/secret-value.ts";
import type { Preset } from "../../sidecar/app/config/presets.ts";
import { secretValueFault } from "../../vault/secrets/value.ts";

export interface FoundKey {
  readonly preset: Preset;
  /** What a placeholder takes the place of. Never empty. */
  readonly entries: readonly EnvEntry[];
  /** What is stored. */
  readonly value: SecretValue;
  /** Where it is stored. */
  readonly path: string;
  /** Variable of the route, where the preset does not know it. */
  readonly env: string | undefined;
}

export interface LeftAlone {
  readonly name: string;
  readonly line: number;
  /** After the name: `is empty`. */
  readonly reason: string;
}

export interface Recognised {
  /** One for each preset at most, in their order. */
  readonly found: readonly FoundKey[];
  readonly left: readonly LeftAlone[];
  /** Have a placeholder of ours already. */
  readonly done: readonly EnvEntry[];
}

/** Text that people and `.env.example` files put where a key belongs. */
const EXAMPLE = /^(?:<.*>|your[-_ ].*|.*[-_]here|.*\.\.\.|x{3,}|change[-_]?me|todo|placeholder|dummy|none|null|test)$/i;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
/** More than a prefix. */
const MIN_KEY_LENGTH = 12;

/** `isPlaceholder`: whether a text is what an agent of this file is to find. */
export const recognise = (
  entries: readonly EnvEntry[],
  presets: readonly Preset[],
  isPlaceholder: (text: string) => boolean,
): Recognised => {
  const done = entries.filter(({ value }) => isPlaceholder(value));
  const reasons = new Map<EnvEntry, string>();
  const open = entries.filter((entry) => {
    const reason = faultOf(entry);
    if (reason !== undefined) reasons.set(entry, reason);
    return reason === undefined && !done.includes(entry);
  });
  const used = new Set<EnvEntry>(done);
  const found: FoundKey[] = [];
  for (const preset of presets) {
    const key =
      preset.secret === undefined
        ? singleKey(preset, presets, open, reasons)
        : composed(preset, { open, done, reasons });
    if (key === undefined) continue;
    found.push(key.found);
    for (const entry of key.uses) used.add(entry);
  }
  const left = entries
    .filter((entry) => !used.has(entry))
    .map((entry) => ({ name: entry.name, line: entry.line, reason: reasons.get(entry) ?? "is known to no preset" }));
  return { found, left, done };
};

const faultOf = ({ value: text }: EnvEntry): string | undefined => {
  if (text === "") return "is empty";
  if (EXAMPLE.test(text)) return "looks like an example, not like a key";
  const fault = secretValueFault(SecretValue.fromText(text));
  return fault === undefined ? undefined : `has a value that ${fault}`;
};

interface Key {
  readonly found: FoundKey;
  readonly uses: readonly EnvEntry[];
}

type Reasons = Map<EnvEntry, string>;

const singleKey = (
  preset: Preset,
  presets: readonly Preset[],
  open: readonly EnvEntry[],
  reasons: Reasons,
): Key | undefined => {
  const ownerByShape = ({ value }: EnvEntry): Preset | undefined =>
    value.length < MIN_KEY_LENGTH
      ? undefined
      : presets.find(({ prefixes }) => prefixes.some((prefix) => value.startsWith(prefix)));
  const rank = ({ name }: EnvEntry): number => {
    const at = preset.env.indexOf(name);
    return at === -1 ? preset.env.length : at;
  };
  const candidates = open
    .filter((entry) => (ownerByShape(entry) ?? (preset.env.includes(entry.name) ? preset : undefined)) === preset)
    .filter(({ name }) => VARIABLE.test(name))
    .sort((a, b) => rank(a) - rank(b));
  const [first] = candidates;
  if (first === undefined) return undefined;
  const same = candidates.filter(({ value }) => value === first.value);
  for (const other of candidates) {
    if (same.includes(other)) continue;
    reasons.set(other, `has another key for ${preset.title} than ${first.name}, and a route sends one`);
  }
  const known = same.some(({ name }) => preset.env.includes(name));
  return {
    found: {
      preset,
      entries: same,
      value: SecretValue.fromText(first.value),
      path: `production/${preset.name}/${segmentOf(first.name, preset.name)}`,
      env: known ? undefined : first.name,
    },
    uses: same,
  };
};

/** A secret made of several variables, such as `{ACCOUNT}:{TOKEN}`. */
const composed = (
  preset: Preset,
  { open, done, reasons }: { open: readonly EnvEntry[]; done: readonly EnvEntry[]; reasons: Reasons },
): Key | undefined => {
  const needed = [...JSON.stringify(preset.secret).matchAll(/\{([A-Z][A-Z0-9_]*)\}/g)].map(([, name = ""]) => name);
  const byName = new Map(open.map((entry) => [entry.name, entry]));
  const present = needed.flatMap((name) => byName.get(name) ?? []);
  if (present.length === 0) return undefined;
  if (present.length < needed.length) {
    const absent = needed.filter((name) => !byName.has(name));
    const isDone = done.some(({ name }) => absent.includes(name));
    const reason = isDone
      ? `belongs to the key for ${preset.title}, which has its placeholder already`
      : `is one part: ${preset.title} needs ${absent.join(" and ")} too`;
    for (const entry of present) reasons.set(entry, reason);
    return undefined;
  }
  const fill = (template: string): string =>
    template.replaceAll(/\{([A-Z][A-Z0-9_]*)\}/g, (_, name: string) => byName.get(name)?.value ?? "");
  const { secret = "" } = preset;
  const text =
    typeof secret === "string"
      ? fill(secret)
      : JSON.stringify(
          Object.fromEntries(Object.entries(secret).map(([member, template]) => [member, fill(template)])),
        );
  return {
    found: {
      preset,
      // What is no secret, an account's name, stays: clients need it.
      entries: present.filter(({ name }) => preset.env.includes(name)),
      value: SecretValue.fromText(text),
      path: `production/${preset.name}/credentials`,
      env: undefined,
    },
    uses: present,
  };
};

/** `OPENAI_API_KEY` of `openai` as `api-key`. */
const segmentOf = (variable: string, preset: string): string => {
  const words = variable
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  const rest = words.startsWith(`${preset}-`) ? words.slice(preset.length + 1) : words;
  return rest === "" ? "key" : rest;
};

/** The only hosts that the secret may go to; empty where the preset has a wildcard, which no secret can be bound to. */
export const hostsOf = ({ match }: Preset): readonly string[] => {
  const hosts = match.map(({ host }) => (host.kind === "exact" ? host.authority.host.name : undefined));
  return hosts.includes(undefined) ? [] : [...new Set(hosts.flatMap((host) => host ?? []))];
};
