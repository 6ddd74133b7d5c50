/** The declared secret sources, each told which paths the routes name in it. */
import type { Clock } from "../../core/clock.ts";
import { type Closer, isClosable } from "../../core/closer.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { sourceKinds } from "../secrets/kinds/index.ts";
import type { SecretSource, SourceDeps } from "../secrets/source.ts";
import type { SidecarConfig } from "./config.ts";

export interface SourceBuild {
  readonly config: SidecarConfig;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly closer: Closer;
}

export const buildSources = async (build: SourceBuild): Promise<ReadonlyMap<string, SecretSource>> => {
  const { config, environment, clock, log, closer } = build;
  const sources = new Map<string, SecretSource>();
  for (const { name, fields } of config.sources) {
    const paths = new Set<string>();
    for (const route of config.routes) {
      for (const { ref } of route.injections) if (ref.source === name) paths.add(ref.path);
    }
    const deps: SourceDeps = {
      name,
      agent: config.agent,
      baseDir: config.baseDir,
      stateDir: config.state,
      clock,
      environment,
      log,
      paths: [...paths],
    };
    const source = await createSource(fields, deps);
    if (isClosable(source)) closer.add(source);
    sources.set(name, source);
  }
  return sources;
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
