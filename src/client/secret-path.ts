/** Paths of secrets in URLs: each segment encoded for itself, so that none can become another path. */
import { ValidationError } from "./errors.ts";

/** `production/openai/key`. Errors: CLIENT_REFUSED, before anything is sent. */
export const secretTarget = (path: string, action?: "rotate" | "rollback" | "history"): string => {
  // Programs without types may pass anything.
  const segments = typeof path === "string" ? path.split("/") : [];
  if (segments.length < 2 || path.length > 1024 || !segments.every(isSegment)) {
    throw new ValidationError({
      detail: "This is not the path of a secret; nothing was sent.",
      hint: "Two or more segments of letters, digits, '.', '_' or '-', like production/openai/key.",
    });
  }
  return `/v1/secrets/${segments.join("/")}${action === undefined ? "" : `/${action}`}`;
};

/** A name or an id as one segment of a URL. Errors: CLIENT_REFUSED, before anything is sent. */
export const oneSegment = (text: string): string => {
  if (text === "" || text === "." || text === ".." || text.length > 256 || /[^\x21-\x7e]/.test(text)) {
    throw new ValidationError({ detail: "This is neither a name nor an id; nothing was sent." });
  }
  return encodeURIComponent(text);
};

/** As in interface.md, section 2: no empty segment, none that means another place. */
const isSegment = (segment: string): boolean =>
  /^[A-Za-z0-9._-]{1,128}$/.test(segment) && segment !== "." && segment !== "..";
