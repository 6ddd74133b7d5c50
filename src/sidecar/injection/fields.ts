/** Zod types that injection kinds share. */
import * as z from "zod";
import { refuse } from "../../config/units.ts";
import { foldHeaderName, HOP_BY_HOP, isHeaderName } from "../../core/headers.ts";
import { canonicalPath } from "../policy/path.ts";
import { type Place, placeText } from "./place.ts";

/** Headers that frame or address the message: never a place for a credential. */
const RESERVED: ReadonlySet<string> = new Set([...HOP_BY_HOP, "host", "content-length", "expect", "accept-encoding"]);

export const headerName = z
  .string()
  .max(64)
  .refine(isHeaderName, "must be a header name: letters, digits and -")
  .refine((name) => {
    const folded = foldHeaderName(name);
    return !RESERVED.has(folded) && !folded.startsWith("x-sidekey-") && !folded.startsWith("proxy-");
  }, "is a header that frames or routes the message, and cannot carry a credential");

const PRINTABLE = /^[\x20-\x7e]*$/;

/** Of a query parameter, as the server names it once it is decoded. */
export const parameterName = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[\x21-\x7e]+$/, "must be printable ASCII without spaces");

/** RFC 6265 section 4.1.1: a token. */
export const cookieName = z
  .string()
  .max(128)
  .refine(isHeaderName, "must be a cookie's name: letters, digits and some punctuation");

const SECRET_ONCE = "must hold {secret} exactly once";
const holdsSecretOnce = (text: string): boolean => text.split("{secret}").length === 2;

const PLACE_FORM = "must be header:NAME, basic, query:NAME or path";

/** Where a placeholder may stand. */
const swapPlace = z
  .string()
  .meta({ pattern: "^(header:.+|basic|query:.+|path)$" })
  .transform((text, context): Place => {
    if (text === "basic" || text === "path") return { in: text };
    const [, part, name = ""] = /^(header|query):(.+)$/s.exec(text) ?? [];
    if (part === undefined) return refuse(context, PLACE_FORM);
    const judged = (part === "header" ? headerName : parameterName).safeParse(name);
    if (judged.success) return { in: part === "header" ? "header" : "query", name };
    return refuse(context, `its ${part} ${judged.error.issues[0]?.message ?? "is none"}`);
  });

/** The `in` of what is swapped. */
export const swapPlaces = z
  .array(swapPlace)
  .min(1)
  .max(16)
  .refine((places) => new Set(places.map(placeText)).size === places.length, "names a place twice")
  .describe("Where it may stand: header:NAME, basic, query:NAME, path.");

export const placeholderText = z
  .string()
  .regex(
    /^[\x21-\x7e][\x20-\x7e]{14,254}[\x21-\x7e]$/,
    "must be 16 to 256 printable ASCII characters, without a space at an end",
  );

/** The beginning of a path with the secret's place in it. */
export const pathFormat = z
  .string()
  .max(256)
  .regex(/^\//, "must begin with /")
  .refine(holdsSecretOnce, SECRET_ONCE)
  .refine((text) => {
    const path = `${text.replace("{secret}", "x")}/`;
    return canonicalPath(path) === path;
  }, "must be a path in its plain spelling, without '//', '..', '?', '#' or needless escapes, and not end with /");

/** Text with the secret's place in it; spaces at the ends would be lost on the wire. */
export const secretFormat = z
  .string()
  .max(256)
  .regex(PRINTABLE, "must be printable ASCII")
  .refine(holdsSecretOnce, SECRET_ONCE)
  .refine((text) => text.trim() === text, "must not begin or end with a space");

/** RFC 7617 section 2: a user-id holds no colon. */
export const basicUsername = z
  .string()
  .min(1)
  .max(256)
  .regex(PRINTABLE, "must be printable ASCII")
  .refine((text) => !text.includes(":"), "must not hold a colon");

/** Each injection may name a secret of its own instead of the route's. */
export const ownSecret = z
  .string()
  .optional()
  .describe("The secret of this injection, as a reference, or #MEMBER of the route's. Default: the route's.");
