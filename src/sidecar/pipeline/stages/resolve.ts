/** The secret's value, if the sidecar's token still covers it and the secret is meant for this host. */

import type { Authority } from "../../../core/authority.ts";
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { SecretResolver } from "../../secrets/resolver.ts";
import { isScoped, type SecretMaterial, type SecretSource } from "../../secrets/source.ts";
import type { Resolved, Routed, WaitingStage } from "../messages.ts";
import type { Route } from "../route.ts";

type Sources = ReadonlyMap<string, SecretSource>;

export const createResolve = (
  sources: Sources,
  resolver: Pick<SecretResolver, "resolve">,
  clock: Clock,
): WaitingStage<Routed, Resolved> =>
  function resolve(routed) {
    const { route } = routed;
    if (route === undefined) return { routed, material: undefined, sourceMs: 0 } as Resolved;
    authorize(sources, route);
    const found = resolver.resolve(route.ref, routed.identified.agent, route);
    if (!(found instanceof Promise)) return finish(routed, route, found, 0);
    const began = clock.monotonic();
    return found.then((material) => finish(routed, route, material, clock.monotonic() - began));
  };

/** The same request with the secret as it is past the cache; undefined where that is the one it was sent with. */
export const createRenew =
  (
    sources: Sources,
    resolver: Pick<SecretResolver, "renew">,
    clock: Clock,
  ): WaitingStage<Resolved, Resolved | undefined> =>
  async ({ routed, material }) => {
    const { route } = routed;
    if (route === undefined || material === undefined) return undefined;
    authorize(sources, route);
    const began = clock.monotonic();
    const renewed = await resolver.renew(route.ref, routed.identified.agent, route, material);
    return renewed === undefined ? undefined : finish(routed, route, renewed, clock.monotonic() - began);
  };

/** Asked for every request, cached value or not: a token that has ended ends its use at once. */
const authorize = (sources: Sources, { ref }: Route): void => {
  const source = sources.get(ref.source);
  if (source !== undefined && isScoped(source)) source.authorize(ref);
};

const finish = (routed: Routed, route: Route, material: SecretMaterial, sourceMs: number): Resolved => {
  checkHost(material, routed.identified.request.authority, route);
  return { routed, material, sourceMs } as Resolved;
};

const checkHost = (material: SecretMaterial, authority: Authority, route: Route): void => {
  const { hosts } = material;
  if (hosts === undefined || hosts.length === 0) return;
  if (hosts.includes(authority.host.name)) return;
  throw new SidekeyError("POLICY_SECRET_HOST", { detail: `${route.ref.text} on ${authority.key}` });
};
