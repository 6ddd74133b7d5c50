/** The way to upstreams as the file has it: who may be connected to, how, and the connections that are kept. */
import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import type { Authority } from "../../core/authority.ts";
import { systemClock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { systemCode } from "../../core/whole-file.ts";
import { createClosedPlaces } from "../net/closed-places.ts";
import { type Connector, createConnector, type Resolver } from "../net/connector.ts";
import { systemResolver } from "../net/lookup.ts";
import type { UpstreamProxy } from "../net/proxy-tunnel.ts";
import { createEgressGuard } from "../policy/egress.ts";
import { parseVaultPlace } from "../secrets/vault-session/address.ts";
import { createHttpUpstream } from "../upstream/http.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { SidecarConfig } from "./config/model.ts";
import { readUpstreamProxy } from "./upstream-proxy.ts";

/** All that a way out depends on. */
export interface WayOutPlan {
  readonly egress: SidecarConfig["egress"];
  readonly connect: SidecarConfig["upstream"]["connect"];
  /** PEM of `upstream.ca`. */
  readonly extraCa: string | undefined;
  /** `upstream.proxy`, with its credential read. */
  readonly proxy: UpstreamProxy | undefined;
  /** Of sources: closed to agents. */
  readonly vaults: readonly Authority[];
}

export interface WayOut {
  readonly plan: WayOutPlan;
  readonly connector: Connector;
  readonly upstream: Upstream;
}

export interface WayOutParts {
  readonly isOwnListener: (address: string, port: number) => boolean;
  readonly resolve: Resolver | undefined;
}

/** Reads the files and variables that the plan needs. Errors: CONFIG_UNREADABLE, CONFIG_INVALID. */
export const planWayOut = async (
  { egress, upstream, sources, baseDir }: SidecarConfig,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<WayOutPlan> => ({
  egress,
  connect: upstream.connect,
  extraCa: upstream.ca === undefined ? undefined : await readPem(upstream.ca),
  proxy: upstream.proxy === undefined ? undefined : readUpstreamProxy(upstream.proxy, { baseDir, environment }),
  vaults: sources.flatMap(({ fields }) =>
    fields.kind === "sidekey" ? (parseVaultPlace(fields.address)?.authority ?? []) : [],
  ),
});

/** The one there is, with its connections, when nothing of it changes: a kept connection was checked by these rules. */
export const openWayOut = (plan: WayOutPlan, before: WayOut | undefined, parts: WayOutParts): WayOut => {
  if (before !== undefined && isDeepStrictEqual(before.plan, plan)) return before;
  const connector = createConnector({
    guard: createEgressGuard(plan.egress),
    redirects: plan.connect,
    proxy: plan.proxy,
    extraCa: plan.extraCa,
    isOwnListener: parts.isOwnListener,
    ...(plan.vaults.length > 0 && {
      closed: createClosedPlaces(plan.vaults, parts.resolve ?? systemResolver, () => systemClock.monotonic()),
    }),
    ...(parts.resolve !== undefined && { resolve: parts.resolve }),
  });
  return { plan, connector, upstream: createHttpUpstream(connector) };
};

/** A PEM file that holds a certificate. Errors: CONFIG_UNREADABLE, CONFIG_INVALID. */
export const readPem = async (path: string): Promise<string> => {
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new SidekeyError("CONFIG_UNREADABLE", {
      detail: `upstream.ca: ${path} cannot be read (${systemCode(cause)}).`,
      cause,
    });
  });
  if (!text.includes("-----BEGIN CERTIFICATE-----")) {
    throw new SidekeyError("CONFIG_INVALID", { detail: `upstream.ca: ${path} holds no PEM certificate.` });
  }
  return text;
};
