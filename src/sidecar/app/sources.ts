/**
 * The declared secret sources with their caches, each told which paths the routes name in it. A reload keeps those that
 * the file leaves as they are; what replaces the others is complete before the first of them is given up.
 */
import { isDeepStrictEqual } from "node:util";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { isClosable } from "../../core/closer.ts";
import { type ErrorCode, SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { sourceKinds } from "../secrets/kinds/index.ts";
import { createSecretResolver, type SecretResolver } from "../secrets/resolver.ts";
import { isRepermitted, type PermitChange, type SecretSource, type SourceDeps } from "../secrets/source.ts";
import type { SidecarConfig, SourceConfig } from "./config-model.ts";

export interface SourceBuild {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
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
      const paths = pathsIn(declared.name, config);
      const known = before.get(declared.name);
      if (known !== undefined && isDeepStrictEqual(known.config.fields, declared.fields)) {
        mounted.set(declared.name, known);
        const change = isRepermitted(known.source) ? await known.source.repermit(paths) : undefined;
        if (change !== undefined) changes.push(change);
      } else {
        const fresh = await mount(declared, paths, config, build);
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
export const resolverOf = (mounted: Mounted): SecretResolver => ({
  resolve(ref, agent, policy) {
    const one = mounted.get(ref.source);
    if (one === undefined) throw new SidekeyError("INTERNAL", { detail: `source ${ref.source} is not built` });
    return one.resolver.resolve(ref, agent, policy);
  },
});

export const sourcesOf = (mounted: Mounted): ReadonlyMap<string, SecretSource> =>
  new Map([...mounted].map(([name, { source }]) => [name, source]));

const pathsIn = (name: string, { routes }: SidecarConfig): readonly string[] => {
  const paths = new Set<string>();
  for (const { injections } of routes) for (const { ref } of injections) if (ref.source === name) paths.add(ref.path);
  return [...paths];
};

const mount = async (
  declared: SourceConfig,
  paths: readonly string[],
  config: SidecarConfig,
  { clock, environment, log }: SourceBuild,
): Promise<MountedSource> => {
  const { name, fields } = declared;
  const { agent, baseDir, state: stateDir } = config;
  const made = await createSource(fields, { name, agent, baseDir, stateDir, clock, environment, log, paths });
  const fetches = new Map<string, FetchReport>();
  const source = reporting(made, fetches, clock);
  return {
    config: declared,
    source,
    resolver: createSecretResolver(new Map([[name, source]]), clock),
    fetches,
    async close() {
      if (isClosable(made)) await made.close();
    },
  };
};

/** The same source, with its powers, and a note of what each fetch came to. */
const reporting = (source: SecretSource, fetches: Map<string, FetchReport>, clock: Clock): SecretSource => ({
  ...source,
  fetch(ref, ctx) {
    const fetching = source.fetch(ref, ctx);
    fetching.then(
      ({ version }) => fetches.set(ref.text, { fetchedAt: clock.now(), version, failure: undefined }),
      (error: unknown) => {
        const { fetchedAt, version } = fetches.get(ref.text) ?? { fetchedAt: undefined, version: undefined };
        fetches.set(ref.text, { fetchedAt, version, failure: toSidekeyError(error).code });
      },
    );
    return fetching;
  },
});

const createSource = (
  fields: SidecarConfig["sources"][number]["fields"],
  deps: SourceDeps,
): SecretSource | Promise<SecretSource> => {
  for (const kind of sourceKinds) {
    if (kind.kind === fields.kind) return kind.create(fields as never, deps);
  }
  throw new SidekeyError("INTERNAL", { detail: `source kind ${fields.kind} is not built` });
};
