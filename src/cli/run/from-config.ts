/** What the file says about the environment of `run`'s child. */
import type { SidecarConfig } from "../../sidecar/app/config.ts";
import type { RouteEnvironment } from "./environment.ts";

export const routeEnvironments = ({ routes }: SidecarConfig): readonly RouteEnvironment[] =>
  routes.map(({ variables, placeholder, patterns }) => ({
    variables,
    placeholder,
    hosts: patterns.flatMap(({ host }) => (host.kind === "exact" ? [host.authority.host.name] : [])),
  }));

/**
 * Every variable that the file reads a credential from: `{ env: NAME }` anywhere in a source or the proxy, those that
 * routes name in a source of kind `env`, and those that it hands to the program of an `exec` source.
 */
export const credentialNames = ({ sources, routes, upstream }: SidecarConfig): readonly string[] => {
  const names = new Set<string>();
  for (const variable of variablesIn(upstream.proxy)) names.add(variable);
  const variableSources = new Set<string>();
  for (const { name, fields } of sources) {
    if (fields.kind === "env") variableSources.add(name);
    // What a source's program needs beyond the usual is how it proves who it is.
    if (fields.kind === "exec") for (const variable of fields.env) if (!USUAL.test(variable)) names.add(variable);
    for (const variable of variablesIn(fields)) names.add(variable);
  }
  for (const { injections } of routes) {
    for (const { ref } of injections) if (variableSources.has(ref.source)) names.add(ref.path);
  }
  return [...names];
};

/** Variables that every program gets, and that hold no credential. */
const USUAL = /^(?:PATH|HOME|USER|LOGNAME|SHELL|PWD|TERM|TMPDIR|TZ|LANG|LANGUAGE|LC_[A-Z_]+|XDG_[A-Z_]+|DISPLAY)$/;

/** Whatever a kind's fields are, a credential in them is an object of `env` alone. */
function* variablesIn(value: unknown): Generator<string> {
  if (typeof value !== "object" || value === null) return;
  const members = Object.entries(value);
  const [first] = members;
  if (members.length === 1 && first?.[0] === "env" && typeof first[1] === "string") yield first[1];
  for (const [, member] of members) yield* variablesIn(member);
}
