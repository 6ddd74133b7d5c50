/**
 * What can be used of a file that the schema refuses, so that references, patterns and ties are checked in the same run
 * and every problem is reported at once. The result is for finding more problems only: it never serves.
 */
import type { ZodType } from "zod";
import { type RootFields, rootSchema, routeSchema } from "./schema.ts";

export interface Salvaged {
  readonly fields: RootFields;
  /** Routes that lost keys to problems reported already. */
  readonly partialRoutes: ReadonlySet<string>;
}

export const salvageFields = (value: unknown): Salvaged => {
  const root = isMap(value) ? value : {};
  const usable = soundParts(root, rootSchema.shape);
  const partialRoutes = new Set<string>();
  for (const key of ["routes", "sources"] as const) {
    const isSound = (name: string, entry: unknown) => rootSchema.shape[key].safeParse({ [name]: entry }).success;
    const sound: Record<string, unknown> = {};
    for (const [name, entry] of isMap(root[key]) ? Object.entries(root[key]) : []) {
      if (isSound(name, entry)) sound[name] = entry;
      else if (key === "routes" && isMap(entry) && isSound(name, {})) {
        sound[name] = soundParts(entry, routeSchema.shape);
        partialRoutes.add(name);
      }
    }
    if (Object.keys(sound).length > 0) usable[key] = sound;
    else delete usable[key];
  }
  return { fields: rootSchema.parse({ ...usable, version: 1 }), partialRoutes };
};

/** The entries of a map that their own schemas accept. */
const soundParts = (map: Readonly<Record<string, unknown>>, shape: Readonly<Record<string, ZodType>>) => {
  const sound: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(shape)) {
    if (schema.safeParse(map[key]).success) sound[key] = map[key];
  }
  return sound;
};

export const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
