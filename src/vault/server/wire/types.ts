/** Zod types that the API's calls have in common. */
import * as z from "zod";
import { MAX_PATH_LENGTH } from "../../secrets/path.ts";
import { WIRE_ERRORS, WIRE_REASONS, type WireCode } from "./error.ts";

export const errorSchema = z
  .object({
    error: z.object({
      code: z.enum(Object.keys(WIRE_ERRORS) as [WireCode, ...WireCode[]]).describe("What programs look at."),
      message: z.string().describe("One sentence."),
      request_id: z.string().describe("The same stands in the audit and in x-request-id."),
      hint: z.string().describe("What to do next."),
      reason: z.enum(WIRE_REASONS).optional().describe("hosts: the secret is bound to other hosts."),
    }),
    detail: z.string().describe("The message again."),
  })
  .describe("Why a call was refused.");

/** Milliseconds since 1970 as the wire has them. */
export const timestamp = z.iso.datetime().describe("ISO 8601, UTC.");

export const wireTime = (at: number): string => new Date(at).toISOString();

const SEGMENT = "[A-Za-z0-9._-]{1,128}";

/** A secret's path; which of them are none beyond this, such as `a/..`, the vault says. */
export const pathParams = z.object({
  path: z
    .string()
    .max(MAX_PATH_LENGTH)
    .regex(new RegExp(`^${SEGMENT}(?:/${SEGMENT})*$`))
    .describe(
      "Path of a secret: NAMESPACE/KEY, where the namespace may have several segments; '/' may be sent as %2F.",
    ),
});

export const page = {
  page: z.coerce.number().int().min(1).max(1_000_000).default(1).describe("From 1."),
  limit: z.coerce.number().int().min(1).max(1000).default(100).describe("Entries of a page."),
};

/** One page of a list, and what the answer says about it. */
export const paged = <T>(
  all: readonly T[],
  { page: number, limit }: { readonly page: number; readonly limit: number },
): { readonly items: readonly T[]; readonly total: number; readonly page: number; readonly limit: number } => ({
  items: all.slice((number - 1) * limit, number * limit),
  total: all.length,
  page: number,
  limit,
});

export const listOf = <Item extends z.ZodType>(item: Item) =>
  z.object({
    items: z.array(item),
    total: z.number().int().describe("Of all pages."),
    page: z.number().int(),
    limit: z.number().int(),
  });
