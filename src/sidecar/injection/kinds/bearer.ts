/** `Authorization: Bearer S` (RFC 6750 section 2.1), or the same in another header. */
import * as z from "zod";
import type { Kind } from "../../../core/kind.ts";
import { headerName, ownSecret } from "../fields.ts";
import { type SetInjector, wireText } from "../injector.ts";

const fields = z.strictObject({
  kind: z.literal("bearer"),
  name: headerName.default("Authorization").describe("The header."),
  secret: ownSecret,
});

export const bearer: Kind<"bearer", typeof fields, void, SetInjector> = {
  kind: "bearer",
  fields,
  summary: "sends 'Bearer S' in Authorization, or in the header that 'name' says",
  create: ({ name }) => ({
    kind: "bearer",
    places: [{ in: "header", name }],
    plan: (_target, secret) => ({ to: "header", name, value: `Bearer ${wireText(secret)}` }),
    derived: () => [],
  }),
};
