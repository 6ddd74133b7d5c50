/** Secrets as the wire has them: one spelling for all calls that tell of one. Holds no value. */
import { isUtf8 } from "node:buffer";
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import { SecretValue } from "../../../core/secret-value.ts";
import {
  type DescribeOptions,
  REFERENCE_BACKENDS,
  SECRET_CATEGORIES,
  SECRET_TIERS,
  SECRET_TYPES,
  type SecretInfo,
  type SecretReference,
  type SetOptions,
} from "../../index.ts";
import { timestamp, wireTime } from "./types.ts";

/** Free: what a secret's owner says about it. */
const metadataSchema = z.record(z.string(), z.unknown()).describe("JSON of at most 8 KiB. No secret.");

const reference = z
  .strictObject({
    backend: z.enum(REFERENCE_BACKENDS),
    ref: z
      .string()
      .regex(/^[!-~]{1,2048}$/)
      .describe("An ARN, or a path."),
  })
  .describe("Where the value is kept instead.");

export const infoSchema = z
  .object({
    id: z.string(),
    path: z.string(),
    namespace: z.string(),
    key: z.string(),
    version: z.number().int().describe("The newest."),
    secret_type: z.string(),
    access_tier: z.enum(SECRET_TIERS),
    category: z.enum(SECRET_CATEGORIES).optional(),
    metadata: metadataSchema,
    hosts: z.array(z.string()).describe("The only hosts it may go to; empty, every one."),
    expires_at: timestamp.optional(),
    reference: reference.optional(),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .describe("What is known of a secret, without its value.");

export const wireInfo = (info: SecretInfo): z.input<typeof infoSchema> => ({
  id: info.id,
  path: info.path,
  ...splitPath(info.path),
  version: info.version,
  secret_type: info.type ?? "custom",
  access_tier: info.tier,
  ...(info.category !== undefined && { category: info.category }),
  metadata: { ...info.metadata },
  hosts: [...info.hosts],
  ...(info.expiresAt !== undefined && { expires_at: wireTime(info.expiresAt) }),
  ...(info.reference !== undefined && { reference: info.reference }),
  created_at: wireTime(info.createdAt),
  updated_at: wireTime(info.updatedAt),
});

export const splitPath = (path: string): { readonly namespace: string; readonly key: string } => {
  const cut = path.lastIndexOf("/");
  return { namespace: path.slice(0, cut), key: path.slice(cut + 1) };
};

/** What a body says about a secret, beside its value. */
export const describeFields = {
  secret_type: z.enum(SECRET_TYPES).optional(),
  access_tier: z.enum(SECRET_TIERS).optional(),
  category: z.enum(SECRET_CATEGORIES).optional(),
  metadata: metadataSchema.nullish().describe("null, as the published clients say it: as it was."),
  hosts: z.array(z.string().min(1).max(255)).max(64).optional().describe("The only hosts it may go to."),
  expires_at: z.iso.datetime({ offset: true }).nullish().describe("null: never."),
};

type DescribeFields = z.output<z.ZodObject<typeof describeFields>>;

/** A half of a pair has no bytes of its own: what was stored would be another value. */
const isWhole = (text: string): boolean => !/\p{Surrogate}/u.test(text);

/** Of a secret, as text. */
export const valueText = z.string().min(1).max(65_536).refine(isWhole, "must be text that UTF-8 can spell");

/** Errors: VAULT_BAD_VALUE (one that was stored past this API, and that no JSON can hold). */
export const textOf = (value: SecretValue): string =>
  value.lend((bytes) => {
    if (isUtf8(bytes)) return bytes.toString("utf8");
    throw new SidekeyError("VAULT_BAD_VALUE", { detail: "It is no UTF-8, so this API cannot hand it out." });
  });

export const valueFields = {
  value: valueText.optional().describe("1 byte to 64 KiB, without control characters."),
  reference: reference.optional(),
};

export const optionsOf = (fields: DescribeFields, by: string): SetOptions => {
  const { secret_type: type, access_tier: tier, category, metadata, hosts, expires_at: end } = fields;
  const options: DescribeOptions = {
    by,
    ...(type !== undefined && { type }),
    ...(tier !== undefined && { tier }),
    ...(category !== undefined && { category }),
    ...(metadata != null && { metadata }),
    ...(hosts !== undefined && { hosts }),
    ...(end !== undefined && { expiresAt: end === null ? null : Date.parse(end) }),
  };
  return options;
};

/** Exactly one of the two; undefined when there is neither or both. */
export const givenValue = ({
  value,
  reference: kept,
}: {
  readonly value?: string | undefined;
  readonly reference?: SecretReference | undefined;
}): SecretValue | SecretReference | undefined => {
  if (value !== undefined) return kept === undefined ? SecretValue.fromText(value) : undefined;
  return kept;
};

/** Seconds as a number or as digits, or a duration: `3600`, `"3600"`, `"1h"`. */
export const seconds = z
  .union([z.number().int().min(0).max(31_536_000), z.string().regex(/^(?:[0-9]{1,8}|[0-9]{1,8}(?:ms|s|m|h|d))$/)])
  .describe("Seconds, or a duration like 1h.");
