/**
 * `upstream.proxy`: the operator's own HTTP proxy. The file says where it is and where its password lies, never the
 * password; a variable's value may hold both, as proxy variables do. No value may get into an error.
 */
import * as z from "zod";
import { type Credential, type CredentialContext, credentialSchema, readCredential } from "../../config/credential.ts";
import { refuse } from "../../config/units.ts";
import { type Authority, parseAuthority } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import { basicUsername } from "../injection/fields.ts";
import type { UpstreamProxy } from "../net/proxy-tunnel.ts";

export type UpstreamProxyConfig =
  | { readonly authority: Authority; readonly login?: { readonly username: string; readonly password: Credential } }
  /** The whole URL is in this variable. */
  | { readonly env: string }
  /** `env`: what the proxy variables of the environment say, as other programs take them. */
  | { readonly fromEnvironment: true };

/** The first that holds something counts. One proxy is for all upstreams, which go through it by CONNECT alike. */
export const PROXY_VARIABLES = [
  "https_proxy",
  "HTTPS_PROXY",
  "all_proxy",
  "ALL_PROXY",
  "http_proxy",
  "HTTP_PROXY",
] as const;
const EXCEPTION_VARIABLES = ["no_proxy", "NO_PROXY"] as const;

const FORM = "must be http://HOST:PORT";
const FROM_ENVIRONMENT = "env";
const EXAMPLE = "For example http://corp-proxy:3128.";
const URL_PARTS = /^http:\/\/(?:([^/?#]*)@)?([^/?#@]+)\/?$/;

const parseProxyUrl = (text: string, context: z.RefinementCtx): Authority => {
  const [, login, host = ""] = URL_PARTS.exec(text) ?? [];
  if (login !== undefined || text.includes("@")) {
    return refuse(
      context,
      "must not hold a password or a user name",
      "Write { url: http://HOST:PORT, username: NAME, password: { file: PATH } }, or { env: NAME } for a whole URL.",
    );
  }
  if (text.startsWith("https://")) return refuse(context, `${FORM}; a proxy over TLS is not in this version`, EXAMPLE);
  return parseAuthority(host) ?? refuse(context, FORM, EXAMPLE);
};

const proxyUrl = z
  .string()
  .meta({ pattern: "^http://[^/?#@]+/?$", examples: ["http://corp-proxy:3128"] })
  .transform(parseProxyUrl);

/** A URL, `env` for the proxy variables, `{ env: NAME }` for a URL in another one, or `{ url, username, password }`. */
export const upstreamProxySchema = z.union([
  z
    .string()
    .meta({ pattern: "^(?:env|http://[^/?#@]+/?)$", examples: ["http://corp-proxy:3128", FROM_ENVIRONMENT] })
    .transform(
      (text, context): UpstreamProxyConfig =>
        text === FROM_ENVIRONMENT ? { fromEnvironment: true } : { authority: parseProxyUrl(text, context) },
    ),
  z
    .strictObject({
      url: proxyUrl.optional().describe("http://HOST:PORT"),
      env: z
        .string()
        .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be a variable's name")
        .optional()
        .describe("Variable that holds the whole URL, login included."),
      username: basicUsername.optional().describe("User at the proxy."),
      password: credentialSchema.optional().describe("Where the password is kept."),
    })
    .transform(({ url, env, username, password }, context): UpstreamProxyConfig => {
      if ((url === undefined) === (env === undefined))
        return refuse(context, "must hold either 'url' or 'env'", EXAMPLE);
      if ((username === undefined) !== (password === undefined)) {
        return refuse(context, "must hold 'username' and 'password', or neither");
      }
      const login = username === undefined || password === undefined ? undefined : { username, password };
      if (env !== undefined) {
        return login === undefined
          ? { env }
          : refuse(context, "takes its login from the variable's URL, or from 'url'");
      }
      return url === undefined ? z.NEVER : { authority: url, ...(login !== undefined && { login }) };
    }),
]);

/**
 * Undefined: the environment names no proxy, and was asked. Errors: CONFIG_INVALID (a credential is missing, or the
 * variable holds no such URL).
 */
export const readUpstreamProxy = (
  config: UpstreamProxyConfig,
  context: CredentialContext,
): UpstreamProxy | undefined => {
  if ("env" in config) return fromVariable(config.env, context);
  if ("fromEnvironment" in config) return fromEnvironment(context);
  const { authority, login } = config;
  if (login === undefined) return { authority, authorization: undefined };
  return { authority, authorization: basic(login.username, readCredential(login.password, context)) };
};

const fromEnvironment = (context: CredentialContext): UpstreamProxy | undefined => {
  const firstOf = (names: readonly string[]): string | undefined =>
    names.find((name) => Object.hasOwn(context.environment, name) && (context.environment[name] ?? "") !== "");
  const variable = firstOf(PROXY_VARIABLES);
  if (variable === undefined) return undefined;
  const exceptions = context.environment[firstOf(EXCEPTION_VARIABLES) ?? ""];
  return { ...fromVariable(variable, context), ...(exceptions !== undefined && { exceptions }) };
};

const fromVariable = (name: string, context: CredentialContext): UpstreamProxy => {
  const [, login, host = ""] = URL_PARTS.exec(readCredential({ env: name }, context)) ?? [];
  const authority = parseAuthority(host);
  if (authority === undefined) throw malformed(name);
  if (login === undefined) return { authority, authorization: undefined };
  const [username = "", ...password] = login.split(":");
  try {
    return { authority, authorization: basic(decodeURIComponent(username), decodeURIComponent(password.join(":"))) };
  } catch (error) {
    // Its message quotes what it could not decode.
    if (error instanceof URIError) throw malformed(name);
    throw error;
  }
};

const malformed = (name: string): SidekeyError =>
  new SidekeyError("CONFIG_INVALID", {
    detail: `upstream.proxy: the variable ${name} does not hold http://[USER:PASSWORD@]HOST:PORT.`,
  });

/** RFC 7617, with UTF-8 as proxies read it. */
const basic = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
