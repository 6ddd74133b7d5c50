/**
 * A prefix of the path, such as `/bot{secret}`. Policy judges the agent's path, without it; what is sent is canonical as
 * a whole, so a secret can add segments and no step out of its place.
 */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import type { SecretValue } from "../../../core/secret-value.ts";
import { canonicalPath } from "../../policy/path.ts";
import { ownSecret, pathFormat } from "../fields.ts";
import type { SetInjector } from "../injector.ts";
import { pathEncode } from "../path-encode.ts";

const fields = z.strictObject({
  kind: z.literal("path"),
  format: pathFormat.describe("What is put before the path, {secret} in it once."),
  secret: ownSecret,
});

export const path: Kind<"path", typeof fields, void, SetInjector> = {
  kind: "path",
  fields,
  summary: "puts 'format' with the secret before the path",
  create: ({ format }) => {
    const [before = "", after = ""] = format.split("{secret}");
    const encoded = (secret: SecretValue): string => secret.lend((bytes) => pathEncode(bytes, "segments"));
    return {
      kind: "path",
      places: [{ in: "path" }],
      plan: (_target, secret) => {
        const prefix = before + encoded(secret) + after;
        // With the slash that every path begins with.
        if (canonicalPath(`${prefix}/`) === `${prefix}/`) return { to: "path", prefix };
        throw new SidekeyError("SOURCE_BAD_VALUE", {
          detail: "In a path the secret would have two readings: it holds '//', '..', a backslash or an escape.",
        });
      },
      derived: (secret) => [Buffer.from(encoded(secret), "latin1")],
    };
  },
};
