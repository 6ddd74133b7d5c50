/** What the vault's answers must be, and what callers get of them. Members beyond these are left out. */
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";

/** ISO 8601 to milliseconds since 1970. */
export const time = z
  .string()
  .max(64)
  .transform((text) => Date.parse(text))
  .refine((at) => Number.isFinite(at)) satisfies z.ZodType<EpochMs>;

/** `null` as some servers write it for what is absent. */
export const optional = <T extends z.ZodType>(schema: T) =>
  z
    .nullish(schema)
    .transform((value) => value ?? undefined)
    .optional();

export const version = z.int().min(1);
export const name = z.string().min(1).max(1024);
export const text = z.string().max(4096);
export const texts = z.array(text).max(4096);

/** Nothing but what may stand in a header. */
export const credential = z.string().regex(/^[\x21-\x7e]{1,8192}$/);

/** How much of a listing there is, and where this part of it stands. */
export const pageMembers = {
  total: optional(z.int().min(0)),
  page: optional(z.int().min(0)),
  limit: optional(z.int().min(0)),
};

export const listOf = <T extends z.ZodType>(item: T) => z.object({ ...pageMembers, items: z.array(item) });

export interface Page<T> {
  readonly items: readonly T[];
  /** All there are; undefined when the vault does not say. */
  readonly total?: number;
}

/** Which part of a listing. */
export interface PageRequest {
  /** From 1. */
  readonly page?: number;
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

export const toPage = <T>(items: readonly T[], total: number | undefined): Page<T> => ({
  items,
  ...(total !== undefined && { total }),
});

/** Members that are undefined left out, as `exactOptionalPropertyTypes` asks. */
export type Given<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

export const given = <T extends object>(members: T): Given<T> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Given<T>;
