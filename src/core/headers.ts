/**
 * Header lists as the wire has them: flat `[name, value, name, value, …]`, order and duplicates kept (the shape of
 * Node's `rawHeaders` and of undici's `headers`).
 */

/** `[name, value, name, value, …]`. */
export type HeaderList = readonly string[];

/**
 * Lower case, and `-` for all but letters and digits: names that some server reads as the same header fold to the same
 * word. CGI and what descends from it (RFC 3875 section 4.1.18) make one variable of `X-Api-Key`, `X_Api_Key` and
 * `X.Api.Key`.
 */
export const foldHeaderName = (name: string): string =>
  OTHER_MARKS.test(name) ? name.toLowerCase().replace(/[^a-z0-9]/g, "-") : name.toLowerCase();

/** What folding would change beyond the case; nearly no name has any. */
const OTHER_MARKS = /[^A-Za-z0-9-]/;

/** RFC 9110 section 7.6.1, with the proxy's own and the framing that is rebuilt on each leg. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** RFC 9110 section 5.6.2. */
export const isHeaderName = (name: string): boolean => TOKEN.test(name);

/** The comma list of a Connection header as folded names. */
export const listedNames = (value: string): string[] => {
  const names: string[] = [];
  for (const part of value.split(",")) {
    const name = part.trim();
    if (name !== "") names.push(foldHeaderName(name));
  }
  return names;
};
