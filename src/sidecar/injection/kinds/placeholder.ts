/** For clients that put their key into places of their own: what they send as a key is swapped for it, there and once. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import { percentEncode, UNRESERVED_MARKS } from "../../../core/percent.ts";
import { ownSecret, placeholderText, swapPlaces } from "../fields.ts";
import type { SwapInjector } from "../injector.ts";
import { pathEncode } from "../path-encode.ts";

const fields = z.strictObject({
  kind: z.literal("placeholder"),
  placeholder: placeholderText
    .optional()
    .describe("What the agent has for a key. Default: one that stays the same for the state directory."),
  in: swapPlaces,
  secret: ownSecret,
});

export const placeholder: Kind<"placeholder", typeof fields, void, SwapInjector> = {
  kind: "placeholder",
  fields,
  summary: "swaps 'placeholder', where the agent sends it in one of the places of 'in', for the secret",
  create: ({ placeholder: text, in: places }) => {
    if (text === undefined) throw new SidekeyError("INTERNAL", { detail: "a placeholder without its text" });
    return {
      kind: "placeholder",
      placeholder: text,
      places,
      derived: (secret) =>
        secret.lend((bytes) => [
          Buffer.from(percentEncode(bytes, UNRESERVED_MARKS), "latin1"),
          Buffer.from(pathEncode(bytes, "segment"), "latin1"),
        ]),
    };
  },
};
