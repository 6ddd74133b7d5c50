/**
 * The one place that decides which headers leave for the upstream: rebuilt name by name from what the agent sent,
 * never spread. On an injected route every spelling of an owned name goes, and exactly one header is set.
 */
import { foldHeaderName, type HeaderList, HOP_BY_HOP, listedNames } from "../../core/headers.ts";
import type { RequestPatch } from "./injector.ts";

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

/** What could make a response that can't be scrubbed: part of a body, or one in a coding we don't read. */
const UNSCRUBBABLE: ReadonlySet<string> = new Set(["range", "if-range", "accept-encoding", "a-im"]);

export interface HeaderRules {
  /** Folded names that are dropped. */
  readonly dropped: ReadonlySet<string>;
  /** By length of name: whether any dropped name has it, so that most headers are passed without folding. */
  readonly lengths: Uint8Array;
  readonly injected: boolean;
}

const MAX_NAME = 256;

const compileRules = (names: Iterable<string>, injected: boolean): HeaderRules => {
  const dropped = new Set(names);
  const lengths = new Uint8Array(MAX_NAME);
  for (const name of dropped) lengths[name.length] = 1;
  return { dropped, lengths, injected };
};

/** Compiled once per route. `owned`: folded names of the headers that the route's injector sets. */
export const createInjectionRules = (owned: readonly string[]): HeaderRules =>
  compileRules([...HOP_BY_HOP, ...FRAMING, ...OVERRIDES, ...UNSCRUBBABLE, ...owned], true);

/** For requests that pass without a credential. */
export const passthroughRules: HeaderRules = compileRules([...HOP_BY_HOP, ...FRAMING], false);

const OURS = "x-sidekey-";

/**
 * The outgoing headers, flat. Host and framing are not among them: the upstream client writes those from the matched
 * authority and the body. `connection` is the agent's Connection header, whose names are dropped too, before the
 * credential is set (RFC 9110 section 7.6.1), so that an agent can't list the credential away.
 */
export const buildHeaders = (
  sent: HeaderList,
  rules: HeaderRules,
  connection: string | undefined,
  patch: RequestPatch | undefined,
): string[] => {
  const { dropped, lengths } = rules;
  const listed = connection === undefined ? undefined : listedNames(connection);
  const headers: string[] = [];
  for (let i = 0; i < sent.length; i += 2) {
    const name = sent[i] as string;
    if (lengths[name.length] === 1 && dropped.has(foldHeaderName(name))) continue;
    const first = name.charCodeAt(0) | 0x20;
    if (first === 0x78 && foldHeaderName(name).startsWith(OURS)) continue;
    if (listed?.includes(foldHeaderName(name))) continue;
    headers.push(name, sent[i + 1] as string);
  }
  if (rules.injected) headers.push("accept-encoding", "identity");
  if (patch !== undefined) headers.push(patch.name, patch.value);
  return headers;
};
