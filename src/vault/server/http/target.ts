/**
 * The target of a request, in one spelling, before anything is routed by it: a path that could mean two things is
 * refused, escapes are decoded once, and the path of a secret becomes one segment, so that what is routed, checked and
 * looked up are the same text. Pure. Must never repair what it reads.
 */

export interface Target {
  /** For the router: percent-encoded where a segment holds a `/`, with the query as it came. */
  readonly url: string;
}

/** In characters; the longest path of a secret, all of it escaped, fits. */
export const MAX_TARGET_LENGTH = 8 * 1024;

/** Printable ASCII without what no URL may hold (RFC 3986), `\` above all. */
const ALLOWED = /^[!$-;=?-Z_a-z~[\]@]*$/;
const SECRETS = "/v1/secrets/";
/** Below a secret's path, by method. */
const ACTIONS: Readonly<Record<string, readonly string[]>> = {
  GET: ["history"],
  POST: ["rotate", "rollback"],
};
/** Not a secret: `POST /v1/secrets/import`. */
const IMPORT = "import";

/** Undefined: the target is to be refused. */
export const readTarget = (method: string, url: string): Target | undefined => {
  if (!url.startsWith("/") || !ALLOWED.test(url)) return undefined;
  const mark = url.indexOf("?");
  const query = mark === -1 ? "" : url.slice(mark);
  const path = decodeOnce(mark === -1 ? url : url.slice(0, mark));
  if (path === undefined || !isPlain(path)) return undefined;
  if (!path.startsWith(SECRETS)) return { url: path.split("/").map(encodeURIComponent).join("/") + query };
  return { url: SECRETS + secretPath(method, path.slice(SECRETS.length)) + query };
};

/** `a/b/rotate` becomes `a%2Fb/rotate`, `a/b` becomes `a%2Fb`. */
const secretPath = (method: string, rest: string): string => {
  if (method === "POST" && rest === IMPORT) return rest;
  const cut = rest.lastIndexOf("/");
  const action = rest.slice(cut + 1);
  if (cut !== -1 && ACTIONS[method]?.includes(action)) return `${encodeURIComponent(rest.slice(0, cut))}/${action}`;
  return encodeURIComponent(rest);
};

/** Undefined: an escape that is none, or one of a byte that is no printable ASCII. */
const decodeOnce = (path: string): string | undefined => {
  let isFine = true;
  const decoded = path.replaceAll(/%(?:([0-9A-Fa-f]{2}))?/g, (_, hex: string | undefined) => {
    const byte = Number.parseInt(hex ?? "", 16);
    isFine &&= byte >= 0x20 && byte < 0x7f;
    return String.fromCharCode(byte);
  });
  return isFine ? decoded : undefined;
};

/** No empty segment but the one before the first `/`, no dot segment, nothing that a second decoding would change. */
const isPlain = (path: string): boolean => {
  if (/[%\\;]/.test(path)) return false;
  if (path === "/") return true;
  const [first, ...segments] = path.split("/");
  return first === "" && segments.every((segment) => segment !== "" && segment !== "." && segment !== "..");
};
