/**
 * The environment of `run`'s child, by the table of interface.md section 6. A pure function: it reads nothing but what
 * it is given, and never lets a variable through that holds a resolved secret.
 */
import type { Environment } from "../terminal.ts";

export interface RouteEnvironment {
  /** Variables that the route sets for the agent. */
  readonly variables: readonly string[];
  /** What the agent finds in them: never the secret. */
  readonly placeholder: string;
  /** Host names the route's patterns name, canonical. */
  readonly hosts: readonly string[];
}

/** How an agent gets to the sidecar. */
export interface AgentAccess {
  /** `http://HOST:PORT` */
  readonly proxyUrl: string;
  /** File with the CA certificate alone, for variables that add. */
  readonly ca: string;
  /** File with our CA, the system's and the caller's, for variables that replace. */
  readonly bundle: string;
  readonly routes: readonly RouteEnvironment[];
}

export interface ChildEnvironmentInput extends AgentAccess {
  readonly caller: Environment;
  /** The Node preload, absolute; undefined = the child cannot read it. */
  readonly preload: string | undefined;
  readonly runId: string;
  /** Every variable that the file reads a credential from. */
  readonly removedNames: readonly string[];
  /** Variables that stay, whatever is in them: the person said so. */
  readonly exposed: readonly string[];
  /** Whether a text holds a resolved secret. */
  containsSecret(text: string): Promise<boolean>;
  /** A secret could not be read, so nobody can tell which variable holds it: those that look like it go. */
  readonly isCautious?: boolean;
}

export interface ChildEnvironment {
  readonly variables: Readonly<Record<string, string>>;
  /** Names of the caller's variables that the child does not get, sorted. */
  readonly removed: readonly string[];
  /** Those of them that went for their looks alone. */
  readonly suspected: readonly string[];
  /** Those that stay and hold a resolved secret, sorted. */
  readonly exposing: readonly string[];
}

/** Compared in any case: Python and npm read these so. */
const PROXY_NAMES: ReadonlySet<string> = new Set([
  "http_proxy",
  "https_proxy",
  "all_proxy",
  "no_proxy",
  "ftp_proxy",
  "npm_config_proxy",
  "npm_config_https_proxy",
  "npm_config_noproxy",
]);

/** Keys and tokens of vaults, and the switch that turns certificate checks off. */
const CREDENTIAL_NAMES: ReadonlySet<string> = new Set([
  "NODE_TLS_REJECT_UNAUTHORIZED",
  "FERNET_SECRET_KEY",
  "SECRET_BACKEND",
  "ASS_AGENT_KEY",
  "ASS_API_KEY",
  "VAULT_TOKEN",
  "BAO_TOKEN",
]);

const OWN_PREFIX = "SIDEKEY_";

/** Variables that name the whole list of trusted CAs. */
const BUNDLE_VARIABLES = [
  "SSL_CERT_FILE",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "GIT_SSL_CAINFO",
  "PIP_CERT",
  "CARGO_HTTP_CAINFO",
  "AWS_CA_BUNDLE",
] as const;

/** Variables that add a CA to what the client trusts already. */
const ADDED_CA_VARIABLES = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"] as const;
const PROXY_VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] as const;
const DIRECT_HOSTS = ["localhost", "127.0.0.1", "::1"] as const;

export const childEnvironment = async (input: ChildEnvironmentInput): Promise<ChildEnvironment> => {
  const named = new Set(input.removedNames);
  const variables: Record<string, string> = {};
  const removed: string[] = [];
  const suspected: string[] = [];
  const exposing: string[] = [];
  const holdsSecret = await secretTest(input);
  for (const [name, value] of Object.entries(input.caller)) {
    if (value === undefined) continue;
    if (input.exposed.includes(name)) {
      variables[name] = value;
      if (await holdsSecret(value)) exposing.push(name);
    } else if (isRemoved(name, named) || (await holdsSecret(value))) removed.push(name);
    else if (input.isCautious === true && looksLikeCredential(name, value)) suspected.push(name);
    else variables[name] = value;
  }
  Object.assign(variables, agentVariables(input));
  if (input.preload !== undefined) variables["NODE_OPTIONS"] = withPreload(variables["NODE_OPTIONS"], input.preload);
  variables["SIDEKEY_RUN"] = input.runId;
  return {
    variables,
    removed: [...removed, ...suspected].sort(),
    suspected: suspected.sort(),
    exposing: exposing.sort(),
  };
};

/** What every agent gets, under `run` and by `env`: all of the table but NODE_OPTIONS, which is added to. */
export const agentVariables = ({ proxyUrl, ca, bundle, routes }: AgentAccess): Readonly<Record<string, string>> => {
  const variables: Record<string, string> = {};
  // Routes first: what the proxy needs must win over a route that names one of these variables.
  for (const { variables: names, placeholder } of routes) for (const name of names) variables[name] = placeholder;
  for (const name of PROXY_VARIABLES) variables[name] = proxyUrl;
  const direct = directHosts(routes);
  variables["NO_PROXY"] = direct;
  variables["no_proxy"] = direct;
  for (const name of ADDED_CA_VARIABLES) variables[name] = ca;
  for (const name of BUNDLE_VARIABLES) variables[name] = bundle;
  variables["NODE_USE_ENV_PROXY"] = "1";
  return variables;
};

/** One question for all values in the usual case that none holds a secret: each may cost a fetch from a source. */
const secretTest = async ({
  caller,
  containsSecret,
}: ChildEnvironmentInput): Promise<(text: string) => Promise<boolean>> => {
  // A line feed is in no secret, so nothing is found across two values.
  const any = await containsSecret(Object.values(caller).join("\n"));
  return any ? containsSecret : async () => false;
};

const isRemoved = (name: string, named: ReadonlySet<string>): boolean =>
  name.startsWith(OWN_PREFIX) ||
  CREDENTIAL_NAMES.has(name) ||
  named.has(name) ||
  PROXY_NAMES.has(name.toLowerCase().replaceAll("-", "_"));

const CREDENTIAL_WORD =
  /(?:^|_)(?:API_?KEY|ACCESS_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(?:_|$)|_(?:KEY|PASS|PAT|PWD|AUTH|DSN)$/i;
/** These say where something is, and programs need them. */
const PLACE_WORD = /_(?:DIR|FILE|PATH|SOCK|HOME)$/i;
/** RFC 3986 section 3.2.1: a password in a URL. */
const PASSWORD_IN_URL = /^[a-z][a-z0-9+.-]*:\/\/[^/?#\s]*:[^/?#\s]*@/i;

const looksLikeCredential = (name: string, value: string): boolean =>
  value !== "" && ((CREDENTIAL_WORD.test(name) && !PLACE_WORD.test(name)) || PASSWORD_IN_URL.test(value));

const directHosts = (routes: readonly RouteEnvironment[]): string => {
  const routed = new Set(routes.flatMap(({ hosts }) => hosts));
  return DIRECT_HOSTS.filter((host) => !routed.has(host)).join(",");
};

/** Node splits NODE_OPTIONS at spaces; inside double quotes a backslash escapes. */
export const nodeOption = (preload: string): string => `--require "${preload.replace(/[\\"]/g, "\\$&")}"`;

const withPreload = (own: string | undefined, preload: string): string => {
  const option = nodeOption(preload);
  return own === undefined || own.trim() === "" ? option : `${own} ${option}`;
};

/** CA files that the caller's own variables named, each once: they go into the bundle as well. */
export const callerBundles = (caller: Environment): readonly string[] => {
  const files = new Set<string>();
  for (const name of BUNDLE_VARIABLES) {
    const file = caller[name];
    if (file !== undefined && file !== "") files.add(file);
  }
  return [...files];
};
