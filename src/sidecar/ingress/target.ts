/**
 * The request target, split by our own grammar into one scheme, authority, path and query. Never by `new URL`: it
 * repairs what must be refused, and `//evil/p` changes its host (guarantees.md section 3, fact 5).
 */
import { type Authority, formatAuthority, parseAuthority } from "../../core/authority.ts";
import { SidekeyError } from "../../core/errors.ts";
import { canonicalPath } from "../policy/path.ts";

export interface Target {
  readonly scheme: "http" | "https";
  readonly authority: Authority;
  /** Canonical. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
}

const bad = (detail: string): SidekeyError => new SidekeyError("INGRESS_BAD_REQUEST", { detail });

const DEFAULT_PORT = { http: 80, https: 443 } as const;

/** Printable ASCII less `#`, which is no part of a target, and less what some servers read as the end of a path. */
const QUERY = /^\?[!"$-[\]-~]*$/;

const splitPath = (text: string): { path: string; query: string } => {
  const mark = text.indexOf("?");
  const path = canonicalPath(mark === -1 ? text : text.slice(0, mark));
  if (path === undefined) throw bad("the path has more than one reading");
  if (mark === -1) return { path, query: "" };
  const query = text.slice(mark);
  if (!QUERY.test(query)) throw bad("the query holds characters that belong escaped");
  return { path, query };
};

/** `http://host[:port]/path?query` (RFC 9112 section 3.2.2). */
export const parseAbsoluteTarget = (text: string): Target => {
  const match = /^(https?):\/\/([^/?#]*)(.*)$/i.exec(text);
  if (match === null) throw bad("the target is not an absolute http or https URL");
  const scheme = (match[1] as string).toLowerCase() === "https" ? "https" : "http";
  const authority = parseAuthority(match[2] as string, DEFAULT_PORT[scheme]);
  if (authority === undefined) throw bad("the target's host or port is not valid");
  const rest = match[3] as string;
  return { scheme, authority, ...splitPath(rest.startsWith("/") ? rest : `/${rest}`) };
};

/** `/path?query`, for a connection whose scheme and authority are settled (RFC 9112 section 3.2.1). */
export const parseOriginTarget = (text: string, scheme: "http" | "https", authority: Authority): Target => ({
  scheme,
  authority,
  ...splitPath(text),
});

/** The Host header must name what everything else names. */
export const requireSameAuthority = (host: string | undefined, target: Target): void => {
  // Nearly always it is spelled as we spell it ourselves.
  if (host === undefined || host === formatAuthority(target.authority, DEFAULT_PORT[target.scheme])) return;
  const named = parseAuthority(host, DEFAULT_PORT[target.scheme]);
  if (named === undefined) throw bad("the Host header is not a valid host and port");
  if (named.key !== target.authority.key) throw new SidekeyError("INGRESS_AUTHORITY_MISMATCH");
};
