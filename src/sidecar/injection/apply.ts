/**
 * The one place that decides what leaves for the upstream. Headers are rebuilt name by name from what the agent sent, never
 * spread; of each place that an injection owns every spelling goes, and exactly one is set.
 */
import { SidekeyError } from "../../core/errors.ts";
import { foldHeaderName, type HeaderList, HOP_BY_HOP, listedNames } from "../../core/headers.ts";
import { MAX_TARGET } from "../../core/limits.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import { acceptsCodings, OFFERED_CODINGS } from "../scrub/codings.ts";
import { setCookie } from "./cookie.ts";
import type { Injection, OutboundTarget, SetInjector } from "./injector.ts";
import { setParameter } from "./query.ts";

/** Rebuilt by the upstream client from the parsed model, whatever the agent wrote. */
const FRAMING: ReadonlySet<string> = new Set(["host", "content-length", "expect"]);

/**
 * They make a server act on another method, host, port or path than the one policy saw (guarantees.md B16), or, with
 * `proxy`, send what it fetches itself through a proxy of the agent's choice (CVE-2016-5385).
 */
const OVERRIDES: ReadonlySet<string> = new Set([
  "x-http-method-override",
  "x-http-method",
  "x-method-override",
  "x-original-method",
  "x-forwarded-method",
  "x-original-url",
  "x-original-uri",
  "x-rewrite-url",
  "x-forwarded-uri",
  "x-forwarded-path",
  "x-forwarded-prefix",
  "x-envoy-original-path",
  "x-script-name",
  "x-forwarded-host",
  "x-forwarded-server",
  "x-forwarded-port",
  "x-forwarded-proto",
  "x-forwarded-scheme",
  "x-url-scheme",
  "front-end-https",
  "x-original-host",
  "x-host",
  "x-http-host-override",
  "forwarded",
  "alt-used",
  "proxy",
]);

const ACCEPT_ENCODING = "accept-encoding";
const RANGE = "range";

/** What could make a response that can't be scrubbed: one in a coding or a difference that we don't read. */
const UNSCRUBBABLE: ReadonlySet<string> = new Set([ACCEPT_ENCODING, "a-im"]);

/** Parts of a body, from which a secret can be put together that no part holds (guarantees.md A7). */
const RANGES: readonly string[] = [RANGE, "if-range"];

export interface HeaderRules {
  /** Folded names that are dropped. */
  readonly dropped: ReadonlySet<string>;
  /** By length of name: whether any name to look at has it, so that most headers are passed without folding. */
  readonly lengths: Uint8Array;
  readonly injected: boolean;
}

const MAX_NAME = 256;

const compileRules = (names: Iterable<string>, injected: boolean): HeaderRules => {
  const dropped = new Set(names);
  const lengths = new Uint8Array(MAX_NAME);
  for (const name of [...dropped, RANGE]) lengths[name.length] = 1;
  return { dropped, lengths, injected };
};

/**
 * Compiled once per route. `owned`: folded names of the headers that the route's injections set. `allowRange`: the agent
 * may ask for parts of a body.
 */
export const createInjectionRules = (owned: readonly string[], allowRange = false): HeaderRules =>
  compileRules(
    [...HOP_BY_HOP, ...FRAMING, ...OVERRIDES, ...UNSCRUBBABLE, ...(allowRange ? [] : RANGES), ...owned],
    true,
  );

/** For requests that pass without a credential. */
export const passthroughRules: HeaderRules = compileRules([...HOP_BY_HOP, ...FRAMING], false);

const OURS = "x-sidekey-";

/**
 * The agent's headers that leave, flat; the credentials come to them. Host and framing are not among them: the upstream client writes those from the matched
 * authority and the body. `connection` is the agent's Connection header, whose names are dropped too, before the
 * credential is set (RFC 9110 section 7.6.1), so that an agent can't list the credential away.
 */
export const buildHeaders = (sent: HeaderList, rules: HeaderRules, connection: string | undefined): string[] => {
  const { dropped, lengths } = rules;
  const listed = connection === undefined ? undefined : listedNames(connection);
  const headers: string[] = [];
  let offers = false;
  let isRanged = false;
  for (let i = 0; i < sent.length; i += 2) {
    const name = sent[i] as string;
    if (lengths[name.length] === 1) {
      const folded = foldHeaderName(name);
      if (dropped.has(folded)) {
        if (folded === ACCEPT_ENCODING) offers ||= acceptsCodings(sent[i + 1] as string);
        continue;
      }
      if (folded === RANGE) isRanged = true;
    }
    const first = name.charCodeAt(0) | 0x20;
    if (first === 0x78 && foldHeaderName(name).startsWith(OURS)) continue;
    if (listed?.includes(foldHeaderName(name))) continue;
    headers.push(name, sent[i + 1] as string);
  }
  // Never the agent's own bytes; and part of a coded body can't be decoded.
  if (rules.injected) headers.push(ACCEPT_ENCODING, offers && !isRanged ? OFFERED_CODINGS : "identity");
  return headers;
};

/**
 * Puts the credentials in: into `headers`, which `buildHeaders` made, and into the target that it returns, canonical path
 * and query. Errors: SOURCE_BAD_VALUE, INGRESS_URI_TOO_LONG.
 */
export const applyInjections = (
  headers: string[],
  request: OutboundTarget,
  injections: readonly Injection<SetInjector>[],
  secrets: readonly { readonly value: SecretValue }[],
): string => {
  let { path, query } = request;
  for (const { injector, secret } of injections) {
    const one = secrets[secret];
    if (one === undefined) throw new SidekeyError("INTERNAL", { detail: "an injection without its secret" });
    const patch = injector.plan(request, one.value);
    switch (patch.to) {
      case "header":
        headers.push(patch.name, patch.value);
        break;
      case "query":
        query = setParameter(query, patch.name, patch.parameter);
        break;
      case "path":
        path = patch.prefix + path;
        break;
      case "cookie":
        setCookie(headers, patch.name, patch.pair);
        break;
    }
  }
  const target = path + query;
  if (target.length > MAX_TARGET) throw new SidekeyError("INGRESS_URI_TOO_LONG");
  return target;
};
