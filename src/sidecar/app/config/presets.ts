/**
 * The presets that come with Sidekey: `config/presets/NAME.yaml`. Only those that a file uses are read, since each start
 * waits for them; `hosts.json` beside them says which host has which.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseConfigDocument } from "../../../config/document.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { packageFile } from "../../../core/package.ts";
import type { Pattern } from "../../policy/pattern.ts";
import { createPresetSchema, type PresetFields, type PresetSchema } from "./preset-schema.ts";
import { presetName } from "./schema.ts";

export interface Preset extends PresetFields {
  readonly name: string;
}

export interface PresetLibrary {
  /** Undefined: there is none of this name. Errors: INTERNAL (a file of ours is damaged). */
  get(name: string): Preset | undefined;
  /** Name of the preset for the one host, or the wildcard, that a pattern is for. */
  nameFor(pattern: Pick<Pattern, "scheme" | "host" | "port">): string | undefined;
  /** In alphabetical order. */
  names(): readonly string[];
}

/** Beside the presets. */
const HOSTS_FILE = "hosts.json";

const EXTENSION = ".yaml";

export const createPresetLibrary = (directory: string = packageFile("config", "presets")): PresetLibrary => {
  const known = new Map<string, Preset | undefined>();
  let hosts: Readonly<Record<string, unknown>> | undefined;
  let schema: PresetSchema | undefined;
  return {
    get(name) {
      if (known.has(name)) return known.get(name);
      schema ??= createPresetSchema();
      const preset = readPreset(directory, name, schema);
      known.set(name, preset);
      return preset;
    },
    nameFor({ scheme, host, port }) {
      if (scheme !== "https" || port !== 443) return undefined;
      hosts ??= readHosts(directory);
      for (const key of hostKeys(host)) {
        const name = Object.hasOwn(hosts, key) ? hosts[key] : undefined;
        if (typeof name === "string") return name;
      }
      return undefined;
    },
    names: () =>
      readdirSync(directory)
        .filter((file) => file.endsWith(EXTENSION))
        .map((file) => file.slice(0, -EXTENSION.length))
        .sort(),
  };
};

/** What the index may have a host under, the nearest first. */
function* hostKeys(host: Pattern["host"]): Generator<string> {
  if (host.kind !== "exact") {
    if (host.kind === "one") yield `*.${host.suffix}`;
    yield `**.${host.suffix}`;
    return;
  }
  const { name } = host.authority.host;
  yield name;
  const labels = name.split(".");
  yield `*.${labels.slice(1).join(".")}`;
  for (let cut = 1; cut < labels.length; cut++) yield `**.${labels.slice(cut).join(".")}`;
}

/** The index of these presets: host, or wildcard, to name. What `hosts.json` must hold. */
export const indexHosts = (presets: readonly Preset[]): Readonly<Record<string, string>> => {
  const entries = presets
    .filter(({ short_form }) => short_form)
    .flatMap(({ name, match }) => match.map((pattern) => [hostKeys(pattern.host).next().value ?? "", name] as const));
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
};

const readHosts = (directory: string): Readonly<Record<string, unknown>> => {
  const path = join(directory, HOSTS_FILE);
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null) return { ...value };
  } catch (cause) {
    throw damaged(path, cause);
  }
  throw damaged(path);
};

const readPreset = (directory: string, name: string, schema: PresetSchema): Preset | undefined => {
  // A name, never a path.
  if (!presetName.safeParse(name).success) return undefined;
  const path = join(directory, `${name}${EXTENSION}`);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw damaged(path, cause);
  }
  const { value, flaws } = parseConfigDocument(text);
  const parsed = schema.safeParse(value);
  if (flaws.length > 0 || !parsed.success) throw damaged(path, parsed.error);
  return { ...parsed.data, name };
};

const damaged = (path: string, cause?: unknown): SidekeyError =>
  new SidekeyError("INTERNAL", { detail: `${path} is not as it was shipped`, cause });
