/** What leaves: the agent's headers less what is ours, plus the credential; and what must not come back. */
import { buildHeaders, passthroughRules } from "../../injection/apply.ts";
import { formsOf } from "../../scrub/forms.ts";
import { compileMatcher, type Matcher } from "../../scrub/matcher.ts";
import type { SecretMaterial } from "../../secrets/source.ts";
import type { Injected, Resolved, Stage } from "../messages.ts";
import type { Route } from "../route.ts";

export const createInject = (): Stage<Resolved, Injected> => {
  // Compiled once per route and version of the secret; goes when the secret leaves the cache.
  const redactions = new WeakMap<Route, WeakMap<SecretMaterial, Matcher>>();

  const redactionFor = (route: Route, material: SecretMaterial): Matcher => {
    const ofRoute = redactions.get(route) ?? new WeakMap<SecretMaterial, Matcher>();
    const known = ofRoute.get(material);
    if (known !== undefined) return known;
    const matcher = compileRedaction(route, material);
    redactions.set(route, ofRoute.set(material, matcher));
    return matcher;
  };

  return function inject(resolved) {
    const { routed, material } = resolved;
    const { route } = routed;
    const { request } = routed.identified;
    const target = request.path + request.query;
    if (route === undefined || material === undefined) {
      const headers = buildHeaders(request.headers, passthroughRules, request.connection, undefined);
      return { resolved, target, headers, redaction: undefined } as unknown as Injected;
    }
    const patch = route.injector.plan(request, material.value);
    const headers = buildHeaders(request.headers, route.rules, request.connection, patch);
    return { resolved, target, headers, redaction: redactionFor(route, material) } as Injected;
  };
};

const compileRedaction = (route: Route, { value }: SecretMaterial): Matcher => {
  const forms = value.lend((bytes) => [...formsOf(bytes)]);
  for (const derived of route.injector.derived(value)) forms.push(...formsOf(derived));
  return compileMatcher(forms);
};
