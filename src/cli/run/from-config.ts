/** What the file says about the environment of `run`'s child. */
import type { SidecarConfig } from "../../sidecar/app/config.ts";
import type { RouteEnvironment } from "./environment.ts";
import { placeholderOf } from "./placeholder.ts";

export const routeEnvironments = ({ routes, state }: SidecarConfig): readonly RouteEnvironment[] =>
  routes.map(({ name, env, patterns }) => ({
    variable: env,
    placeholder: placeholderOf(name, state),
    hosts: patterns.flatMap(({ host }) => (host.kind === "exact" ? [host.authority.host.name] : [])),
  }));

/**
 * Every variable that the file reads a credential from: `{ env: NAME }` anywhere in a source or the proxy, and those that
 * routes name in a source of kind `env`.
 */
export const credentialNames = ({ sources, routes, upstream }: SidecarConfig): readonly string[] => {
  const names = new Set<string>();
  for (const variable of variablesIn(upstream.proxy)) names.add(variable);
  const variableSources = new Set<string>();
  for (const { name, fields } of sources) {
    if (fields.kind === "env") variableSources.add(name);
    for (const variable of variablesIn(fields)) names.add(variable);
  }
  for (const { injections } of routes) {
    for (const { ref } of injections) if (variableSources.has(ref.source)) names.add(ref.path);
  }
  return [...names];
};

/** Whatever a kind's fields are, a credential in them is an object of `env` alone. */
function* variablesIn(value: unknown): Generator<string> {
  if (typeof value !== "object" || value === null) return;
  const members = Object.entries(value);
  const [first] = members;
  if (members.length === 1 && first?.[0] === "env" && typeof first[1] === "string") yield first[1];
  for (const [, member] of members) yield* variablesIn(member);
}
