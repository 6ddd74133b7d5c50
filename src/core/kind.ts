/**
 * A kind is one file and one line: a folder's `index.ts` lists its kinds, and configuration types, schema and
 * documentation derive from that list.
 */
import type { z } from "zod";

export interface Kind<Name extends string, Fields extends z.ZodType, Deps, Built> {
  /** The word in the file's `kind:` key. */
  readonly kind: Name;
  /** The keys beside `kind`, as a strict zod object that holds `kind` as a literal. */
  readonly fields: Fields;
  /** One line for `--help` and the reference. */
  readonly summary: string;
  create(fields: z.output<Fields>, deps: Deps): Built;
}
