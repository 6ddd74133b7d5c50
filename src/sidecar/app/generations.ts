/**
 * Which generation serves: the next one is built whole beside it, then put in its place by one assignment. What the old
 * one alone used goes when its last request can be over.
 */
import type { AuditBroker } from "../../audit/broker.ts";
import type { Clock } from "../../core/clock.ts";
import type { Closable } from "../../core/closer.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Tally } from "../admin/tally.ts";
import { createReplayBudget } from "../pipeline/replay-buffer.ts";
import { createLiveExchanges } from "../pipeline/revocation.ts";
import type { LiveValues } from "../secrets/live-values.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { SidecarConfig } from "./config/model.ts";
import { createGeneration, type ServingGeneration } from "./generation.ts";
import { type MountedSource, mountSources, NO_SOURCES } from "./sources.ts";
import type { Tracing } from "./tracing.ts";
import { openWayOut, planWayOut, type WayOutParts, type WayOutPlan } from "./way-out.ts";

/** A source is asked at the beginning of a request, and answers or times out well within this. `ms` */
const SOURCE_LEAVES_AFTER_MS = 30_000;

export interface GenerationsOptions extends WayOutParts {
  readonly config: SidecarConfig;
  /** Of `config`. */
  readonly plan: WayOutPlan;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly broker: AuditBroker;
  readonly clock: Clock;
  readonly log: Log;
  readonly tally: Tally;
  readonly liveValues: LiveValues;
  readonly tracing: Tracing | undefined;
  /** It lasts as long as one program. */
  readonly isBrief: boolean;
}

export interface Generations extends Closable {
  current(): ServingGeneration;
  /** One at a time. Errors: whatever of `config` can't be opened; then the old one goes on untouched. */
  replace(config: SidecarConfig): Promise<ServingGeneration>;
}

/** Errors: as `replace`. */
export const createGenerations = async (options: GenerationsOptions): Promise<Generations> => {
  const { environment, broker, clock, log, tally, liveValues, tracing, isBrief } = options;
  const build = { environment, clock, log, tally, live: liveValues, isBrief };
  const upstreams = new Set<Upstream>();
  const leaving = new Map<MountedSource, NodeJS.Timeout>();
  let closed = false;
  const replay = createReplayBudget();
  const live = createLiveExchanges({ judge: () => current.judge() });

  const leave = async (source: MountedSource): Promise<void> => {
    leaving.delete(source);
    await source.close().catch((error: unknown) => {
      log.warn("a source that the file no longer has could not be closed", {
        source: source.config.name,
        code: toSidekeyError(error).code,
      });
    });
  };

  const first = await mountSources(options.config, NO_SOURCES, build);
  let current = createGeneration(
    {
      number: 1,
      config: options.config,
      mounted: first.mounted,
      wayOut: openWayOut(options.plan, undefined, options),
      broker,
      clock,
      log,
      live,
      replay,
      tracing,
    },
    undefined,
  );
  upstreams.add(current.wayOut.upstream);

  return {
    current: () => current,
    async replace(config) {
      const before = current;
      const plan = await planWayOut(config, environment);
      const change = await mountSources(config, before.mounted, build);
      if (closed) {
        await change.cancel();
        throw new SidekeyError("DRAINING");
      }
      const wayOut = openWayOut(plan, before.wayOut, options);
      const number = before.number + 1;
      const { mounted, gone } = change;
      const next = createGeneration(
        { number, config, mounted, wayOut, broker, clock, log, live, replay, tracing },
        before,
      );
      // One run without a wait: no request sees one of these without the other.
      change.commit();
      current = next;
      upstreams.add(wayOut.upstream);
      if (wayOut !== before.wayOut) before.wayOut.upstream.retire();
      for (const upstream of upstreams) if (upstream !== wayOut.upstream && !upstream.busy) upstreams.delete(upstream);
      for (const source of gone) {
        leaving.set(source, setTimeout(() => void leave(source), SOURCE_LEAVES_AFTER_MS).unref());
      }
      return next;
    },
    async close() {
      closed = true;
      for (const timer of leaving.values()) clearTimeout(timer);
      await Promise.all([...upstreams].map((upstream) => upstream.close()));
      await Promise.all([...leaving.keys()].map(leave));
      await Promise.all([...current.mounted.values()].map((source) => source.close()));
    },
  };
};
