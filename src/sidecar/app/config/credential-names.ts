/** Which variables of the environment hold credentials, as the file says it. */
import { SecretValue } from "../../../core/secret-value.ts";
import { PROXY_VARIABLES } from "../upstream-proxy.ts";
import type { SidecarConfig } from "./model.ts";

/**
 * Every variable that the file reads a credential from: `{ env: NAME }` anywhere in a source or the proxy, those that
 * routes name in a source of kind `env`, and those that it hands to the program of an `exec` source.
 */
export const credentialNames = ({ sources, routes, upstream }: SidecarConfig): readonly string[] => {
  const names = new Set<string>();
  for (const variable of variablesIn(upstream.proxy)) names.add(variable);
  if (upstream.proxy !== undefined && "fromEnvironment" in upstream.proxy) {
    for (const variable of PROXY_VARIABLES) names.add(variable);
  }
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

/** The key of the embedded vault, or several with commas. */
const VAULT_KEY = "FERNET_SECRET_KEY";

/** What those variables hold, and the vault's keys. */
export const credentialsIn = (
  environment: Readonly<Record<string, string | undefined>>,
  config: SidecarConfig,
): readonly SecretValue[] => {
  const texts = [
    ...credentialNames(config).map((name) => environment[name]),
    ...(environment[VAULT_KEY]?.split(",").map((key) => key.trim()) ?? []),
  ];
  return texts.flatMap((text) => (text === undefined || text === "" ? [] : [SecretValue.fromText(text)]));
};
