/** The secrets' values, if the sidecar's token still covers them and each is meant for this host. All of them, or none. */

import type { Authority } from "../../../core/authority.ts";
import type { Clock } from "../../../core/clock.ts";
import { SidekeyError } from "../../../core/errors.ts";
import type { SecretBundle } from "../../secrets/bundle.ts";
import type { CachePolicy, SecretResolver } from "../../secrets/resolver.ts";
import {
  type IssuedPlaceholder,
  isScoped,
  type SecretMaterial,
  type SecretRef,
  type SecretSource,
} from "../../secrets/source.ts";
import type { RequestContext, Resolved, Routed, WaitingStage } from "../messages.ts";
import type { Route } from "../route.ts";

type Sources = ReadonlyMap<string, SecretSource>;

export const createResolve = (
  sources: Sources,
  resolver: Pick<SecretResolver, "resolve">,
  clock: Clock,
): WaitingStage<Routed, Resolved> =>
  function resolve(routed, ctx) {
    const { route } = routed;
    if (route === undefined) return { routed, secrets: undefined, sourceMs: 0 } as Partial<Resolved> as Resolved;
    const { secrets: refs } = route;
    for (const ref of refs) authorize(sources, ref);
    const { agent, request } = routed.identified;
    if (refs.length > 1) return resolveAll(routed, route, resolver, clock, ctx);
    const found = resolver.resolve(refs[0] as SecretRef, agent, route, request, ctx);
    if (!(found instanceof Promise)) return finish(routed, route, route.bundles.one(found), 0);
    const began = clock.monotonic();
    return found.then((material) => finish(routed, route, route.bundles.one(material), clock.monotonic() - began));
  };

const resolveAll = (
  routed: Routed,
  route: Route,
  resolver: Pick<SecretResolver, "resolve">,
  clock: Clock,
  ctx: RequestContext,
): Resolved | Promise<Resolved> => {
  const found: (SecretMaterial | Promise<SecretMaterial>)[] = [];
  try {
    const { agent, request } = routed.identified;
    for (const ref of route.secrets) found.push(resolver.resolve(ref, agent, route, request, ctx));
  } catch (error) {
    // Nobody waits for the others any more.
    for (const one of found) if (one instanceof Promise) one.catch(() => undefined);
    throw error;
  }
  if (!found.some((one) => one instanceof Promise)) {
    return finish(routed, route, route.bundles.all(found as SecretMaterial[]), 0);
  }
  const began = clock.monotonic();
  return Promise.all(found).then((materials) =>
    finish(routed, route, route.bundles.all(materials), clock.monotonic() - began),
  );
};

/** The same request with its secrets as they are past the cache; undefined where none is another than it was sent with. */
export const createRenew =
  (
    sources: Sources,
    resolver: Pick<SecretResolver, "renew">,
    clock: Clock,
  ): WaitingStage<Resolved, Resolved | undefined> =>
  async ({ routed, secrets }, ctx) => {
    const { route } = routed;
    const { agent, request } = routed.identified;
    if (route === undefined || secrets === undefined) return undefined;
    for (const ref of route.secrets) authorize(sources, ref);
    const began = clock.monotonic();
    const renewed = await Promise.all(
      route.secrets.map((ref, i) =>
        // A pinned version stays what it is.
        ref.version === undefined
          ? resolver.renew(ref, agent, route, secrets.materials[i] as SecretMaterial, request, ctx)
          : undefined,
      ),
    );
    if (renewed.every((one) => one === undefined)) return undefined;
    const materials = secrets.materials.map((used, i) => renewed[i] ?? used);
    return finish(routed, route, route.bundles.all(materials), clock.monotonic() - began);
  };

/** Whether one secret may be used for this authority now. Errors: as a request gets them. */
export type SecretCheck = (
  ref: SecretRef,
  agent: string,
  policy: CachePolicy,
  authority: Authority,
) => void | Promise<void>;

export const createSecretCheck =
  (sources: Sources, resolver: Pick<SecretResolver, "resolve">): SecretCheck =>
  (ref, agent, policy, authority) => {
    authorize(sources, ref);
    const found = resolver.resolve(ref, agent, policy, { authority });
    if (!(found instanceof Promise)) return checkHost(found, authority, ref);
    return found.then((material) => checkHost(material, authority, ref));
  };

/** Asked for every request, cached value or not: a token that has ended ends its use at once. */
const authorize = (sources: Sources, ref: SecretRef): void => {
  const source = sources.get(ref.source);
  if (source !== undefined && isScoped(source)) source.authorize(ref);
};

const finish = (routed: Routed, route: Route, secrets: SecretBundle, sourceMs: number): Resolved => {
  const { authority } = routed.identified.request;
  const { materials } = secrets;
  for (let i = 0; i < materials.length; i++) {
    checkHost(materials[i] as SecretMaterial, authority, route.secrets[i] as SecretRef);
  }
  return { routed, secrets, sourceMs } as Resolved;
};

const checkHost = (material: SecretMaterial, authority: Authority, ref: SecretRef): void => {
  if (ref.issued !== undefined) checkIssued(ref.issued, material);
  const { hosts } = material;
  if (hosts === undefined || hosts.length === 0) return;
  if (hosts.includes(authority.host.name)) return;
  throw new SidekeyError("POLICY_SECRET_HOST", { detail: `${ref.text} on ${authority.key}` });
};

/** The agent chose what its placeholder stands for, so the file must say that it belongs here. */
const checkIssued = (placeholder: IssuedPlaceholder, { issued }: SecretMaterial): void => {
  if (issued !== undefined && placeholder.allows(issued.path)) return;
  throw new SidekeyError("INJECT_PLACEHOLDER_MISPLACED", {
    detail: `a placeholder of the vault, for ${issued?.path ?? "nothing known"}`,
    hint: "Name its path in the route's 'secrets'.",
  });
};
