/** A header of any name: `X-Api-Key: S`, with `format` around the secret. */
import * as z from "zod";
import type { Kind } from "../../../core/kind.ts";
import { headerName, ownSecret, secretFormat } from "../fields.ts";
import { type SetInjector, wireText } from "../injector.ts";

const fields = z.strictObject({
  kind: z.literal("header"),
  name: headerName.describe("The header."),
  format: secretFormat.default("{secret}").describe("The header's value, {secret} in it once."),
  secret: ownSecret,
});

export const header: Kind<"header", typeof fields, void, SetInjector> = {
  kind: "header",
  fields,
  summary: "sends the secret in the header 'name', written as 'format'",
  create: ({ name, format }) => {
    // Cut once at load: a replace per request would read `$&` in a secret as a pattern.
    const [before = "", after = ""] = format.split("{secret}");
    return {
      kind: "header",
      places: [{ in: "header", name }],
      plan: (_target, secret) => ({ to: "header", name, value: before + wireText(secret) + after }),
      derived: () => [],
    };
  },
};
