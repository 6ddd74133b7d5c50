/** Every injection kind: one file and one line each. */
import { SidekeyError } from "../../../core/errors.ts";
import type { Injector } from "../injector.ts";
import { basic } from "./basic.ts";
import { bearer } from "./bearer.ts";
import { cookie } from "./cookie.ts";
import { header } from "./header.ts";
import { path } from "./path.ts";
import { placeholder } from "./placeholder.ts";
import { query } from "./query.ts";
import { vaultPlaceholder } from "./vault-placeholder.ts";

/** Those that send a secret which the file names. */
export const namedKinds = [bearer, basic, header, query, path, cookie, placeholder] as const;

export const injectionKinds = [...namedKinds, vaultPlaceholder] as const;

/** What a kind's `create` takes. */
type InjectionFields = ReturnType<(typeof injectionKinds)[number]["fields"]["parse"]>;

/** The injector that these fields of the file describe. Errors: INTERNAL (no such kind). */
export const createInjector = (fields: InjectionFields): Injector => {
  for (const kind of injectionKinds) {
    if (kind.kind === fields.kind) return kind.create(fields as never);
  }
  throw new SidekeyError("INTERNAL", { detail: `injection kind ${fields.kind} is not built` });
};
