/**
 * The declared secret sources with their caches, each told which paths the routes name in it. A reload keeps those that
 * the file leaves as they are; what replaces the others is complete before the first of them is given up.
 */
import { isDeepStrictEqual } from "node:util";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { isClosable } from "../../core/closer.ts";
import { type ErrorCode, SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Tally } from "../admin/tally.ts";
import { sourceKinds } from "../secrets/kinds/index.ts";
import type { LiveValues } from "../secrets/live-values.ts";
import { isOutage } from "../secrets/pause.ts";
import { createSecretResolver, type SecretResolver } from "../secrets/resolver.ts";
import {
  isRepermitted,
  type PermitChange,
  type RouteUse,
  type SecretMaterial,
  type SecretRef,
  type SecretSource,
  type SourceDeps,
} from "../secrets/source.ts";
import type { SidecarConfig, SourceConfig } from "./config/model.ts";

export interface SourceBuild {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  /** Told of each fetch. */
  readonly tally: Pick<Tally, "fetched">;
  /** Told of each value. */
  readonly live: Pick<LiveValues, "add">;
  /** The sidecar is one program's. */
  readonly isBrief: boolean;
}

export interface MountedSource {
  readonly config: SourceConfig;
  readonly source: SecretSource;
  readonly resolver: SecretResolver;
  /** By reference: what its last fetches came to. */
  readonly fetches: ReadonlyMap<string, FetchReport>;
  close(): Promise<void>;
}

/** Never a value. */
export interface FetchReport {
  /** Of the last value got; undefined before the first. */
  readonly fetchedAt: EpochMs | undefined;
  readonly version: string | undefined;
  /** Of the last attempt, when it failed. */
  readonly failure: ErrorCode | undefined;
}

export type Mounted = ReadonlyMap<string, MountedSource>;

export const NO_SOURCES: Mounted = new Map();

export interface SourceChange {
  readonly mounted: Mounted;
  /** Mounted before and not any more: the caller's to close. */
  readonly gone: readonly MountedSource[];
  commit(): void;
  /** Closes what was opened for this change. */
  cancel(): Promise<void>;
}

/** Errors: those of the kinds; then nothing has changed. */
export const mountSources = async (
  config: SidecarConfig,
  before: Mounted,
  build: SourceBuild,
): Promise<SourceChange> => {
  const mounted = new Map<string, MountedSource>();
  const opened: MountedSource[] = [];
  const changes: PermitChange[] = [];
  const cancel = async (): Promise<void> => {
    const undone = [...opened.map((one) => one.close()), ...changes.map((change) => change.cancel())];
    for (const outcome of await Promise.allSettled(undone)) {
      if (outcome.status === "rejected") {
        build.log.warn("not all could be closed", { code: toSidekeyError(outcome.reason).code });
      }
    }
  };
  try {
    for (const declared of config.sources) {
      const uses = usesIn(declared.name, config);
      const known = before.get(declared.name);
      if (known !== undefined && isDeepStrictEqual(known.config.fields, declared.fields)) {
        mounted.set(declared.name, known);
        const change = isRepermitted(known.source) ? await known.source.repermit(pathsOf(uses), uses) : undefined;
        if (change !== undefined) changes.push(change);
      } else {
        const fresh = await mount(declared, uses, config, build);
        opened.push(fresh);
        mounted.set(declared.name, fresh);
      }
    }
  } catch (error) {
    await cancel();
    throw error;
  }
  return {
    mounted,
    gone: [...before].filter(([name, one]) => mounted.get(name) !== one).map(([, one]) => one),
    commit() {
      for (const change of changes) change.commit();
    },
    cancel,
  };
};

/** One resolver for all of them; each source has a cache of its own, which goes when it goes. */
export const resolverOf = (mounted: Mounted): Pick<SecretResolver, "resolve" | "renew"> => {
  const resolverFor = (ref: SecretRef): SecretResolver => {
    const one = mounted.get(ref.source);
    if (one === undefined) throw new SidekeyError("INTERNAL", { detail: `source ${ref.source} is not built` });
    return one.resolver;
  };
  return {
    resolve: (ref, agent, policy, ...asking) => resolverFor(ref).resolve(ref, agent, policy, ...asking),
    renew: async (ref, agent, policy, used, ...asking) => resolverFor(ref).renew(ref, agent, policy, used, ...asking),
  };
};

export const sourcesOf = (mounted: Mounted): ReadonlyMap<string, SecretSource> =>
  new Map([...mounted].map(([name, { source }]) => [name, source]));

const usesIn = (name: string, { routes }: SidecarConfig): readonly RouteUse[] =>
  routes.flatMap(({ name: route, injections, issued, patterns, maxAgeMs, staleWhileErrorMs }) => {
    const staleMs = maxAgeMs + staleWhileErrorMs;
    const exact = patterns.find(({ host }) => host.kind === "exact")?.host;
    const authority = exact?.kind === "exact" ? exact.authority : undefined;
    const paths = new Set(injections.flatMap(({ ref }) => (ref.source === name ? [ref.path] : [])));
    if (issued?.source === name) for (const glob of issued.fields.secrets) paths.add(glob);
    return [...paths].map((path) => ({ path, route, authority, staleMs }));
  });

const pathsOf = (uses: readonly RouteUse[]): readonly string[] => [...new Set(uses.map(({ path }) => path))];

const mount = async (
  declared: SourceConfig,
  uses: readonly RouteUse[],
  config: SidecarConfig,
  { clock, environment, log, tally, live, isBrief }: SourceBuild,
): Promise<MountedSource> => {
  const { name, fields } = declared;
  const { agent, baseDir, state: stateDir } = config;
  const paths = pathsOf(uses);
  const deps = { name, agent, baseDir, stateDir, clock, environment, log, paths, uses, isBrief };
  const source = await createSource(fields, deps);
  const fetches = new Map<string, FetchReport>();
  const noteFetch = createReport(fetches, clock, log);
  const resolver = createSecretResolver(new Map([[name, source]]), clock, {
    report(ref, outcome, ms) {
      tally.fetched(fields.kind, outcome instanceof SidekeyError ? outcome.code : "ok", ms);
      if (!(outcome instanceof SidekeyError)) live.add(outcome.value);
      noteFetch(ref, outcome);
    },
  });
  return {
    config: declared,
    source,
    resolver,
    fetches,
    async close() {
      resolver.close();
      if (isClosable(source)) await source.close();
    },
  };
};

/**
 * Keeps what each fetch came to, and tells the operator when a secret begins to fail and when it is back. What an agent
 * sends as a placeholder is its own choice: of all those together only that the source is away, and that it is back.
 */
const createReport =
  (fetches: Map<string, FetchReport>, clock: Clock, log: Log) =>
  ({ text, source, issued }: SecretRef, outcome: SecretMaterial | SidekeyError): void => {
    if (issued !== undefined && outcome instanceof SidekeyError && !isOutage(outcome)) return;
    const secret = issued === undefined ? text : `${source}:placeholder`;
    const before = fetches.get(secret);
    if (outcome instanceof SidekeyError) {
      const { code, detail } = outcome;
      if (before?.failure !== code) log.warn("a secret cannot be fetched", { secret, code, detail });
      fetches.set(secret, { fetchedAt: before?.fetchedAt, version: before?.version, failure: code });
      return;
    }
    if (before?.failure !== undefined) log.info("a secret can be fetched again", { secret });
    fetches.set(secret, { fetchedAt: clock.now(), version: outcome.version, failure: undefined });
  };

const createSource = (
  fields: SidecarConfig["sources"][number]["fields"],
  deps: SourceDeps,
): SecretSource | Promise<SecretSource> => {
  for (const kind of sourceKinds) {
    if (kind.kind === fields.kind) return kind.create(fields as never, deps);
  }
  throw new SidekeyError("INTERNAL", { detail: `source kind ${fields.kind} is not built` });
};
