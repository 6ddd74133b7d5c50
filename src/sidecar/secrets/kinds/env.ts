/** Secrets from environment variables, as they were when the sidecar started. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import type { SecretSource, SourceDeps } from "../source.ts";
import { checkedSecret } from "../value-check.ts";

const fields = z.strictObject({ kind: z.literal("env") });

export const env: Kind<"env", typeof fields, SourceDeps, SecretSource> = {
  kind: "env",
  fields,
  summary: "A variable of the sidecar's environment; PATH is its name.",
  create: (_fields, { name, environment }) => ({
    name,
    async fetch(ref) {
      if (ref.version !== undefined) throw missing(`${ref.text}: variables have no versions.`);
      const value = Object.hasOwn(environment, ref.path) ? environment[ref.path] : undefined;
      if (value === undefined || value === "") throw missing(`Variable ${ref.path} is not set.`);
      return { value: checkedSecret(Buffer.from(value, "utf8"), ref) };
    },
  }),
};

const missing = (detail: string): SidekeyError =>
  new SidekeyError("SOURCE_SECRET_MISSING", { detail, hint: "Set the variable where the sidecar is started." });
