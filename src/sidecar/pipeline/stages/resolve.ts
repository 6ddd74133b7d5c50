/** The secret's value, if the sidecar's token still covers it and the secret is meant for this host. */

import type { Authority } from "../../../core/authority.ts";
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { SecretResolver } from "../../secrets/resolver.ts";
import { isScoped, type SecretMaterial, type SecretSource } from "../../secrets/source.ts";
import type { Resolved, Routed, WaitingStage } from "../messages.ts";
import type { Route } from "../route.ts";

export const createResolve = (
  sources: ReadonlyMap<string, SecretSource>,
  resolver: Pick<SecretResolver, "resolve">,
  clock: Clock,
): WaitingStage<Routed, Resolved> => {
  const finish = (routed: Routed, route: Route, material: SecretMaterial, sourceMs: number): Resolved => {
    checkHost(material, routed.identified.request.authority, route);
    return { routed, material, sourceMs } as Resolved;
  };

  return function resolve(routed) {
    const { route } = routed;
    if (route === undefined) return { routed, material: undefined, sourceMs: 0 } as Resolved;
    // Asked for every request, cached value or not: a token that has ended ends its use at once.
    const source = sources.get(route.ref.source);
    if (source !== undefined && isScoped(source)) source.authorize(route.ref);
    const found = resolver.resolve(route.ref, routed.identified.agent, route);
    if (!(found instanceof Promise)) return finish(routed, route, found, 0);
    const began = clock.monotonic();
    return found.then((material) => finish(routed, route, material, clock.monotonic() - began));
  };
};

const checkHost = (material: SecretMaterial, authority: Authority, route: Route): void => {
  const { hosts } = material;
  if (hosts === undefined || hosts.length === 0) return;
  if (hosts.includes(authority.host.name)) return;
  throw new SidekeyError("POLICY_SECRET_HOST", { detail: `${route.ref.text} on ${authority.key}` });
};
