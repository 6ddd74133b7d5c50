/**
 * The file, from text to a checked configuration: `check`, `start`, `run` and reload all go through here, so that what
 * `check` accepts is what serves. Reports every problem of the file at once; never puts a value into one.
 */
import { dirname, join, resolve } from "node:path";
import { diagnose } from "../../../config/diagnose.ts";
import { parseConfigDocument } from "../../../config/document.ts";
import { compareProblems, createProblem, type Finding, type KeyPath, type Problem } from "../../../config/problem.ts";
import { digestOf, readConfigFile } from "../../../config/read-file.ts";
import { nearest } from "../../../config/suggest.ts";
import { parseAuthority } from "../../../core/authority.ts";
import { missingCredentials } from "./credentials.ts";
import { changedFixedKeys } from "./fixed.ts";
import { laterFinding } from "./later.ts";
import { buildListeners } from "./listeners.ts";
import type { RouteConfig, SidecarConfig, SourceConfig } from "./model.ts";
import { createPresetLibrary } from "./presets.ts";
import { missingPrograms } from "./programs.ts";
import { buildRoutes } from "./routes.ts";
import { isMap, salvageFields } from "./salvage.ts";
import { type RootFields, rootSchema, sourceSchema } from "./schema.ts";
import { NAMED_VAULT, type NamedVault, withNamedVault } from "./vault.ts";

export type * from "./model.ts";
export type { NamedVault } from "./vault.ts";

export type LoadResult =
  | {
      readonly config: SidecarConfig;
      readonly warnings: readonly Problem[];
      /** Where something that was found later stands in the file. */
      place(finding: Finding): Problem;
    }
  | {
      /** In the order of the file; never empty. */
      readonly problems: readonly Problem[];
    };

export interface LoadOptions {
  /** As problems name it. */
  readonly file: string;
  readonly text: string;
  /** Where relative paths start; default the file's directory. */
  readonly baseDir?: string;
  /** What serves now, at a reload: what cannot change while it does is then a problem too. */
  readonly running?: SidecarConfig | undefined;
  /** Given: the programs of sources are looked for too, in its PATH. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** Named beside the file, for its default source. */
  readonly vault?: NamedVault | undefined;
  /** SHA-256 of the bytes that `text` was read from, hex; default of `text`. */
  readonly digest?: string;
}

/** With the digest of what was read, whatever became of it. */
export type ReadResult = LoadResult & { readonly digest: string };

/** `running`, `environment`, `vault`: as in `LoadOptions`. Errors: CONFIG_UNREADABLE. */
export const readConfig = (
  path: string,
  running?: SidecarConfig,
  environment?: LoadOptions["environment"],
  vault?: NamedVault,
): ReadResult => {
  const read = readConfigFile(path, `To write a first one there: sidekey init -c ${path}`);
  const { digest } = read;
  if ("problem" in read) return { problems: [read.problem], digest };
  const { text } = read;
  return { ...loadConfig({ file: path, text, running, environment, vault, digest }), digest };
};

export const loadConfig = (options: LoadOptions): LoadResult => {
  const {
    file,
    text,
    baseDir = dirname(resolve(file)),
    running,
    environment,
    vault,
    digest = digestOf(text),
  } = options;
  const document = parseConfigDocument(text);
  const problems: Problem[] = document.flaws.map((flaw) => createProblem(file, flaw.position, flaw));
  if (document.isBroken) return { problems };

  const findings: Finding[] = [];
  const warnings: Problem[] = [];
  const parsed = rootSchema.safeParse(document.value);
  if (!parsed.success) {
    const diagnosis = { schema: rootSchema, value: document.value, later: laterFinding };
    findings.push(...diagnose(parsed.error.issues, diagnosis));
  }
  const { fields, partialRoutes } = parsed.success
    ? { fields: parsed.data, partialRoutes: new Set<string>() }
    : salvageFields(document.value);
  const place = (finding: Finding): Problem => createProblem(file, document.locate(finding.path), finding);
  const config = assembleConfig(fields, {
    file: resolve(file),
    baseDir: resolve(baseDir),
    digest,
    sourceKinds: declaredKinds(document.value),
    vault,
    partialRoutes,
    report: (finding) => findings.push(finding),
    warn: (finding) => warnings.push(place(finding)),
  });

  if (environment !== undefined) {
    findings.push(...missingPrograms(config, environment), ...missingCredentials(config, environment));
  }
  if (running !== undefined) {
    // What is wrong already stands at its default in `config`: that is no change that anybody asked for.
    const wrong = [...findings, ...document.flaws].map(({ path }) => path);
    const isWrong = ({ path }: Finding): boolean => wrong.some(([key]) => key === undefined || key === path[0]);
    findings.push(...changedFixedKeys(running, config).filter((finding) => !isWrong(finding)));
  }

  // A key that was refused as YAML says nothing further about itself.
  const said = document.flaws.filter(({ path }) => path.length > 0);
  const fresh = findings.filter(({ path }) => !said.some((flaw) => startsWith(path, flaw.path)));
  problems.push(...fresh.map(place));
  problems.sort(compareProblems);
  return problems.length > 0 ? { problems } : { config, warnings: warnings.sort(compareProblems), place };
};

const startsWith = (path: KeyPath, start: KeyPath): boolean => start.every((part, index) => path[index] === part);

interface Assembly {
  readonly file: string;
  readonly baseDir: string;
  /** Of the file's text. */
  readonly digest: string;
  /** Name to kind, for sources whose fields may be wrong. */
  readonly sourceKinds: ReadonlyMap<string, string>;
  readonly vault: NamedVault | undefined;
  /** Routes that lost keys to problems reported already. */
  readonly partialRoutes: ReadonlySet<string>;
  report(finding: Finding): void;
  warn(finding: Finding): void;
}

/** Checks how the parts fit together, and fills what depends on other parts. */
const assembleConfig = (fields: RootFields, assembly: Assembly): SidecarConfig => {
  const { file, baseDir, digest, vault, partialRoutes, report, warn } = assembly;
  const state = resolve(baseDir, fields.state);
  const sources = buildSources(fields, vault, report);
  // What the file declares wrongly is declared all the same.
  const declared = new Map(vault === undefined ? [] : [[NAMED_VAULT, "sidekey"]]);
  for (const [name, kind] of assembly.sourceKinds) if (!declared.has(name)) declared.set(name, kind);
  if (declared.size === 0) for (const { name, kind } of sources) declared.set(name, kind);
  const connect = buildConnect(fields, report);
  const [defaultSource = ""] = declared.keys();
  const references = {
    declared: [...declared.keys()],
    defaultSource,
    kindOf: (name: string) => declared.get(name),
  };
  const entries = Object.entries(fields.routes).map(([name, written]) => ({
    name,
    written,
    isPartial: partialRoutes.has(name),
  }));
  const routes: RouteConfig[] = buildRoutes(entries, {
    references,
    presets: createPresetLibrary(),
    state,
    connect,
    report,
    warn,
  });
  const { ca, proxy } = fields.upstream;
  return {
    file,
    baseDir,
    digest,
    agent: fields.agent,
    state,
    listen: buildListeners(fields, { baseDir, state, report, warn }),
    sources,
    routes,
    unmatched: fields.unmatched,
    egress: fields.egress,
    upstream: {
      connect,
      ...(ca !== undefined && { ca: resolve(baseDir, ca) }),
      ...(proxy !== undefined && { proxy }),
    },
    tls: {
      export: fields.tls.export === undefined ? undefined : resolve(baseDir, fields.tls.export),
      caDays: fields.tls.ca_days,
      constrain: fields.tls.constrain,
    },
    audit: {
      path: fields.audit.path === undefined ? join(state, "audit.jsonl") : resolve(baseDir, fields.audit.path),
      sync: fields.audit.sync,
      maxSize: fields.audit.max_size,
      keep: fields.audit.keep,
      key: fields.audit.key === undefined ? join(state, "audit.key") : resolve(baseDir, fields.audit.key),
    },
    limits: fields.limits,
    logLevel: fields.log.level,
    tests: buildTests(fields, report),
  };
};

type Report = (finding: Finding) => void;

const buildSources = (fields: RootFields, vault: NamedVault | undefined, report: Report): readonly SourceConfig[] => {
  const entries = Object.entries(fields.sources ?? {});
  if (fields.sources !== undefined && entries.length === 0) {
    report({
      path: ["sources"],
      message: "names no source",
      hint: "Without the key there is one: the embedded vault.",
    });
  }
  if (entries.length === 0 && vault === undefined) entries.push(["local", sourceSchema.parse({ kind: "local" })]);
  const declared = entries.map(([name, source]) => ({ name, kind: source.kind, fields: source }));
  return withNamedVault(declared, vault, report);
};

/** An expectation that nothing can meet would fail for ever, and a misspelt one that nobody notices tests nothing. */
const buildTests = (fields: RootFields, report: Report): SidecarConfig["tests"] =>
  fields.tests.map(({ request, agent, expect }, index) => {
    const known = ["deny", "tunnel", ...Object.keys(fields.routes)];
    if (!known.includes(expect)) {
      report({
        path: ["tests", index, "expect"],
        message: "is neither deny, tunnel nor a route of this file",
        hint: didYouMean(expect, known),
      });
    }
    if (agent !== undefined && agent !== fields.agent) {
      report({ path: ["tests", index, "agent"], message: `is not the one agent of this file, '${fields.agent}'` });
    }
    return { request, expect };
  });

const didYouMean = (written: string, known: readonly string[]): string => {
  const near = nearest(written, known);
  return near === undefined ? "Write deny, tunnel, or a route's name." : `Did you mean '${near}'?`;
};

const buildConnect = (fields: RootFields, report: Report): SidecarConfig["upstream"]["connect"] => {
  const connect = new Map<string, { readonly address: string; readonly port: number }>();
  for (const [key, { host, port }] of Object.entries(fields.upstream.connect)) {
    const path: KeyPath = ["upstream", "connect", key];
    const authority = parseAuthority(key);
    if (authority === undefined) {
      report({ path, message: "the key must be HOST:PORT", hint: 'For example "api.example.com:443".' });
    } else if (connect.has(authority.key)) {
      report({ path, message: "the same host and port are written twice" });
    } else connect.set(authority.key, { address: host.name, port });
  }
  return connect;
};

const declaredKinds = (value: unknown): ReadonlyMap<string, string> => {
  const sources = isMap(value) ? value["sources"] : undefined;
  const entries = isMap(sources) ? Object.entries(sources) : [];
  return new Map(entries.map(([name, one]) => [name, isMap(one) ? String(one["kind"]) : ""]));
};
