/**
 * The file, from text to a checked configuration: `check`, `start`, `run` and reload all go through here, so that what
 * `check` accepts is what serves. Reports every problem of the file at once; never puts a value into one.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { isLocalListener, MAX_SOCKET_PATH } from "../../config/addresses.ts";
import { diagnose } from "../../config/diagnose.ts";
import { MAX_FILE_SIZE, parseConfigDocument } from "../../config/document.ts";
import { compareProblems, createProblem, type Finding, type KeyPath, type Problem } from "../../config/problem.ts";
import { parseAuthority } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import { laterFinding } from "./config-later.ts";
import type { ListenAddress, RouteConfig, SidecarConfig, SourceConfig } from "./config-model.ts";
import { buildRoutes } from "./config-routes.ts";
import { isMap, salvageFields } from "./config-salvage.ts";
import { type RootFields, rootSchema, sourceSchema } from "./config-schema.ts";

export type * from "./config-model.ts";

export type LoadResult =
  | { readonly config: SidecarConfig; readonly warnings: readonly Problem[] }
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
}

/** Errors: CONFIG_UNREADABLE. */
export const readConfig = (path: string): LoadResult => {
  const bytes = readLimited(path);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { problems: [createProblem(path, { line: 1, column: 1 }, { path: [], message: "the file is not UTF-8" })] };
  }
  return loadConfig({ file: path, text });
};

/** One byte more than is allowed tells a file that is too large; pipes and devices have no size to ask for. */
const readLimited = (path: string): Buffer => {
  const bytes = Buffer.alloc(MAX_FILE_SIZE + 1);
  let length = 0;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "r");
    while (length < bytes.length) {
      const read = readSync(descriptor, bytes, length, bytes.length - length, null);
      if (read === 0) break;
      length += read;
    }
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown";
    throw new SidekeyError("CONFIG_UNREADABLE", { detail: `${path} (${code})`, cause });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  return bytes.subarray(0, length);
};

export const loadConfig = ({ file, text, baseDir = dirname(resolve(file)) }: LoadOptions): LoadResult => {
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
    sourceKinds: declaredKinds(document.value),
    partialRoutes,
    report: (finding) => findings.push(finding),
    warn: (finding) => warnings.push(place(finding)),
  });

  // A key that was refused as YAML says nothing further about itself.
  const said = document.flaws.filter(({ path }) => path.length > 0);
  const fresh = findings.filter(({ path }) => !said.some((flaw) => startsWith(path, flaw.path)));
  problems.push(...fresh.map(place));
  problems.sort(compareProblems);
  return problems.length > 0 ? { problems } : { config, warnings: warnings.sort(compareProblems) };
};

const startsWith = (path: KeyPath, start: KeyPath): boolean => start.every((part, index) => path[index] === part);

interface Assembly {
  readonly file: string;
  readonly baseDir: string;
  /** Name to kind, for sources whose fields may be wrong. */
  readonly sourceKinds: ReadonlyMap<string, string>;
  /** Routes that lost keys to problems reported already. */
  readonly partialRoutes: ReadonlySet<string>;
  report(finding: Finding): void;
  warn(finding: Finding): void;
}

/** Checks how the parts fit together, and fills what depends on other parts. */
const assembleConfig = (fields: RootFields, assembly: Assembly): SidecarConfig => {
  const { file, baseDir, sourceKinds, partialRoutes, report, warn } = assembly;
  const state = resolve(baseDir, fields.state);
  const sources = buildSources(fields, report);
  const declared = sourceKinds.size > 0 ? sourceKinds : new Map(sources.map(({ name, kind }) => [name, kind]));
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
  const routes: RouteConfig[] = buildRoutes(entries, { references, connect, report, warn });
  const { ca, proxy } = fields.upstream;
  const { names, clients } = fields.listen;
  const listen = {
    proxy: buildListener(fields.listen.proxy, "proxy", { clients, baseDir, report }),
    gateway: buildListener(fields.listen.gateway, "gateway", { clients, baseDir, report }),
  };
  checkListeners(listen.proxy, listen.gateway, report);
  return {
    file,
    baseDir,
    agent: fields.agent,
    state,
    listen: { ...listen, health: undefined, admin: undefined, names, clients },
    sources,
    routes,
    unmatched: fields.unmatched,
    egress: fields.egress,
    upstream: {
      connect,
      ...(ca !== undefined && { ca: resolve(baseDir, ca) }),
      ...(proxy !== undefined && { proxy }),
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
  };
};

type Report = (finding: Finding) => void;

interface ListenChecks {
  readonly clients: SidecarConfig["listen"]["clients"];
  readonly baseDir: string;
  readonly report: Report;
}

/** Ruling 19: nothing in this version authenticates callers, so the file names who may come from other machines. */
const buildListener = (
  address: ListenAddress | undefined,
  key: "proxy" | "gateway",
  { clients, baseDir, report }: ListenChecks,
): ListenAddress | undefined => {
  if (address === undefined) return undefined;
  const path: KeyPath = ["listen", key];
  if (!isLocalListener(address) && clients.length === 0) {
    report({
      path,
      message: "would listen beyond this machine, where nothing tells callers apart",
      hint: "Use 127.0.0.1, [::1] or unix:PATH, or name who may connect: listen.clients: [10.0.0.0/8].",
    });
  }
  if (address.kind !== "unix") return address;
  const absolute = resolve(baseDir, address.path);
  if (Buffer.byteLength(absolute) > MAX_SOCKET_PATH) {
    report({ path, message: `the socket's absolute path is longer than ${MAX_SOCKET_PATH} bytes` });
  }
  return { kind: "unix", path: absolute };
};

const checkListeners = (proxy: ListenAddress | undefined, gateway: ListenAddress | undefined, report: Report): void => {
  if (proxy === undefined && gateway === undefined) {
    report({ path: ["listen"], message: "leaves no way in: proxy and gateway are both off" });
  }
  if (proxy === undefined || gateway === undefined || isAnyPort(proxy)) return;
  if (isDeepStrictEqual(proxy, gateway)) {
    report({
      path: ["listen", "gateway"],
      message: "is the address of listen.proxy",
      hint: "Give each its own; the gateway's usual port is 7071.",
    });
  }
};

const isAnyPort = (address: ListenAddress): boolean => address.kind === "tcp" && address.port === 0;

const buildSources = (fields: RootFields, report: Report): SourceConfig[] => {
  const entries = Object.entries(fields.sources ?? {});
  if (fields.sources !== undefined && entries.length === 0) {
    report({
      path: ["sources"],
      message: "names no source",
      hint: "Without the key there is one: the embedded vault.",
    });
  }
  if (entries.length === 0) entries.push(["local", sourceSchema.parse({ kind: "local" })]);
  return entries.map(([name, source]) => ({ name, kind: source.kind, fields: source }));
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
