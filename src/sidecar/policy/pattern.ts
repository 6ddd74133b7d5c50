/**
 * The grammar of a route's `match` and `deny`: `[METHODS SP] SCHEME://HOST[:PORT][PATH]` and `METHODS PATH`. Compiled
 * when the file is loaded. Problems say what is wrong and where, never the text itself: it may hold a pasted secret.
 */
import { type Authority, createAuthority, parseHost } from "../../core/authority.ts";
import { canonicalPath, generousPath } from "./path.ts";

export type Scheme = "http" | "https";

/** `one`: exactly one label before the suffix (`*.`); `many`: one or more (`**.`). */
export type HostPattern =
  | { readonly kind: "exact"; readonly authority: Authority }
  | { readonly kind: "one" | "many"; readonly suffix: string; readonly labels: number };

/** A literal segment in both readings of a path (see path.ts), or undefined for `*`. */
export interface Literal {
  readonly canonical: string;
  readonly generous: string;
}

export interface PathPattern {
  readonly segments: readonly (Literal | undefined)[];
  /** Ends with `**`: anything or nothing may follow. */
  readonly rest: boolean;
}

/** Undefined: every method but TRACE, TRACK and CONNECT. */
export type Methods = ReadonlySet<string> | undefined;

export interface Pattern {
  /** As written, for `explain` and the like. */
  readonly text: string;
  readonly methods: Methods;
  readonly scheme: Scheme;
  readonly host: HostPattern;
  readonly port: number;
  readonly path: PathPattern;
}

export interface DenyPattern {
  readonly text: string;
  readonly methods: Methods;
  readonly path: PathPattern;
}

export interface PatternProblem {
  /** What is wrong, without any of the text. */
  readonly problem: string;
  /** Character of the text where it is wrong, from 0. */
  readonly at: number;
  readonly hint?: string;
}

export const isPatternProblem = (value: object): value is PatternProblem => "problem" in value;

/** Methods that no route forwards, whatever it lists. */
export const NEVER_FORWARDED: ReadonlySet<string> = new Set(["TRACE", "TRACK", "CONNECT"]);

export const DEFAULT_PORT = { https: 443, http: 80 } as const satisfies Record<Scheme, number>;

const METHOD = /^[A-Z]+(?:-[A-Z]+)*$/;
const PORT = /^[1-9][0-9]{0,4}$/;
const MAX_LENGTH = 2048;

const problemAt = (at: number, problem: string, hint?: string): PatternProblem =>
  hint === undefined ? { problem, at } : { problem, at, hint };

/** One entry of `match`. */
export const parsePattern = (text: string): Pattern | PatternProblem => {
  if (text.length > MAX_LENGTH) return problemAt(MAX_LENGTH, "the pattern is too long");
  const head = splitMethods(text, NEVER_FORWARDED);
  if (isPatternProblem(head)) return head;
  const { methods, start } = head;
  const url = text.slice(start);
  const scheme = url.startsWith("https://") ? "https" : url.startsWith("http://") ? "http" : undefined;
  if (scheme === undefined) {
    return problemAt(start, "a pattern needs 'https://' or 'http://' before its host", schemeHint(url));
  }
  const hostStart = start + scheme.length + 3;
  const slash = text.indexOf("/", hostStart);
  const pathStart = slash === -1 ? text.length : slash;
  const host = parseHostPort(text.slice(hostStart, pathStart), hostStart, DEFAULT_PORT[scheme]);
  if (isPatternProblem(host)) return host;
  const path = pathStart === text.length ? ANY_PATH : parsePath(text.slice(pathStart), pathStart);
  if (isPatternProblem(path)) return path;
  return { text, methods, scheme, host: host.host, port: host.port, path };
};

/** One entry of `deny`: `METHODS PATH`, where `**` alone is any path and METHODS may be left out for all. */
export const parseDeny = (text: string): DenyPattern | PatternProblem => {
  if (text.length > MAX_LENGTH) return problemAt(MAX_LENGTH, "the pattern is too long");
  // Denying what is refused anyway is harmless, so every method may stand here.
  const head = splitMethods(text, new Set());
  if (isPatternProblem(head)) return head;
  const pathText = text.slice(head.start);
  if (pathText.includes("://")) {
    return problemAt(head.start, "'deny' takes a path without scheme and host", "It binds within its own route.");
  }
  const path = pathText === "**" ? ANY_PATH : parsePath(pathText, head.start);
  if (isPatternProblem(path)) return path;
  return { text, methods: head.methods, path };
};

/** The key of a route as a pattern: `host[:port]` or `*.suffix` means `https://HOST/**`. */
export const parseHostKey = (key: string): Pattern | PatternProblem => {
  const host = parseHostPort(key, 0, DEFAULT_PORT.https);
  if (isPatternProblem(host)) return host;
  return { text: `https://${key}/**`, methods: undefined, scheme: "https", ...host, path: ANY_PATH };
};

/** The host and port as a pattern writes them. */
export const formatHostPattern = (pattern: Pick<Pattern, "host" | "port">): string => {
  const { host, port } = pattern;
  if (host.kind === "exact") return host.authority.key;
  return `${host.kind === "one" ? "*" : "**"}.${host.suffix}:${port}`;
};

const ANY_PATH: PathPattern = { segments: [], rest: true };

const schemeHint = (url: string): string => {
  if (/^wss?:\/\//.test(url)) return "WebSockets are matched by https:// and http:// too.";
  if (/^[A-Z]+:\/\//i.test(url)) return "Only https and http, in lower case, can be routed.";
  return "For example: GET,POST https://api.example.com/v1/**";
};

const splitMethods = (
  text: string,
  refused: ReadonlySet<string>,
): { readonly methods: Methods; readonly start: number } | PatternProblem => {
  const space = text.indexOf(" ");
  if (space === -1) return { methods: undefined, start: 0 };
  const start = space + 1;
  const extra = text.indexOf(" ", start);
  if (extra !== -1) return problemAt(extra, "a pattern holds one space at most, between methods and the rest");
  const list = text.slice(0, space);
  if (list === "*") return { methods: undefined, start };
  const methods = new Set<string>();
  let at = 0;
  for (const method of list.split(",")) {
    if (!METHOD.test(method)) {
      return problemAt(at, "methods are a comma list in capitals, without spaces", "For example: GET,POST");
    }
    if (refused.has(method)) return problemAt(at, "TRACE, TRACK and CONNECT are never forwarded");
    methods.add(method);
    at += method.length + 1;
  }
  return { methods, start };
};

const parseHostPort = (
  text: string,
  at: number,
  defaultPort: number,
): { readonly host: HostPattern; readonly port: number } | PatternProblem => {
  const colon = text.endsWith("]") ? -1 : text.lastIndexOf(":");
  const name = colon === -1 ? text : text.slice(0, colon);
  let port = defaultPort;
  if (colon !== -1) {
    const digits = text.slice(colon + 1);
    port = Number(digits);
    if (!PORT.test(digits) || port > 65535) return problemAt(at + colon + 1, "the port must be a number, 1 to 65535");
  }
  const wildcard = /^(\*{1,2})\.(.*)$/.exec(name);
  if (wildcard !== null) {
    const [, stars = "", rest = ""] = wildcard;
    const suffix = parseHost(rest);
    if (suffix?.kind !== "name")
      return problemAt(at + stars.length + 1, "a name must follow the wildcard", hostHint(rest));
    const labels = suffix.name.split(".").length;
    return { host: { kind: stars === "*" ? "one" : "many", suffix: suffix.name, labels }, port };
  }
  const host = parseHost(name);
  if (host === undefined) return problemAt(at, "this is not a host", hostHint(name));
  return { host: { kind: "exact", authority: createAuthority(host, port) }, port };
};

const hostHint = (host: string): string => {
  if (/[^\x20-\x7e]/.test(host)) return "Write an international name in its xn-- form.";
  if (host.includes("@")) return "User and password have no place in a pattern.";
  if (/[?#]/.test(host)) return "The query never counts; leave it out.";
  if (host.includes("*")) return "A wildcard is '*.suffix' (one label) or '**.suffix' (one or more).";
  if (host.endsWith(".")) return "Leave the last dot out.";
  if (host.includes("/")) return "A key that is no host needs 'match:'.";
  if (host.includes(":")) return "An IPv6 address stands in brackets: [::1].";
  return "A host is a name like api.example.com, a dotted quad, or an IPv6 address in brackets.";
};

/** `text` begins with `/`. Segments of the canonical path; `*` is one, `**` at the end none or more. */
const parsePath = (text: string, at: number): PathPattern | PatternProblem => {
  if (!text.startsWith("/")) return problemAt(at, "a path begins with '/'", "For any path write '**'.");
  const query = text.search(/[?#]/);
  if (query !== -1) return problemAt(at + query, "the query never counts; leave it out");
  const canonical = canonicalPath(text);
  if (canonical === undefined) {
    return problemAt(at, "this path could never match: requests with it are refused", "No '//', dot segments or '\\'.");
  }
  const words = text.split("/").slice(1);
  const segments: (Literal | undefined)[] = [];
  let offset = at + 1;
  for (const [index, word] of words.entries()) {
    const isLast = index === words.length - 1;
    if (word === "**") {
      return isLast ? { segments, rest: true } : problemAt(offset, "'**' may stand only at the end of a path");
    }
    if (word !== "*" && word.includes("*")) {
      return problemAt(offset + word.indexOf("*"), "'*' stands for a whole segment", "A literal star is written %2A.");
    }
    segments.push(word === "*" ? undefined : literal(word));
    offset += word.length + 1;
  }
  return { segments, rest: false };
};

const literal = (word: string): Literal => {
  // The whole path was canonical, so each of its segments is.
  const canonical = (canonicalPath(`/${word}`) ?? "/").slice(1);
  return { canonical, generous: generousPath(`/${canonical}`).slice(1) };
};

/** Does the pattern's host and port cover the authority? For the file's checks; requests use the table's index. */
export const matchesHost = ({ host, port }: Pick<Pattern, "host" | "port">, authority: Authority): boolean => {
  if (host.kind === "exact") return host.authority.key === authority.key;
  const { kind, name } = authority.host;
  if (port !== authority.port || kind !== "name" || !name.endsWith(`.${host.suffix}`)) return false;
  return host.kind === "many" || !name.slice(0, -host.suffix.length - 1).includes(".");
};

/** Which reading of a path is compared (see path.ts). */
export type Reading = keyof Literal;

/** Does the pattern cover the path, given in the same reading? Walks the text, so that nothing is allocated. */
export const matchesPath = (pattern: PathPattern, path: string, reading: Reading): boolean => {
  const { segments, rest } = pattern;
  let at = 0;
  for (const segment of segments) {
    // `at` is on the slash before the segment; past the end there is none.
    if (at >= path.length) return false;
    const start = at + 1;
    const next = path.indexOf("/", start);
    const end = next === -1 ? path.length : next;
    if (segment === undefined) {
      if (end === start) return false;
    } else {
      const text = segment[reading];
      if (end - start !== text.length || !path.startsWith(text, start)) return false;
    }
    at = end;
  }
  return rest || at === path.length;
};

export const matchesMethod = (methods: Methods, method: string): boolean =>
  methods === undefined ? !NEVER_FORWARDED.has(method) : methods.has(method);
