/** A parameter of the query: `?key=S`, the secret percent-encoded, so that any byte of it arrives. */
import * as z from "zod";
import type { Kind } from "../../../core/kind.ts";
import { percentEncode, UNRESERVED_MARKS } from "../../../core/percent.ts";
import type { SecretValue } from "../../../core/secret-value.ts";
import { ownSecret, parameterName } from "../fields.ts";
import type { SetInjector } from "../injector.ts";
import { foldParameterName } from "../parameter-name.ts";

const fields = z.strictObject({
  kind: z.literal("query"),
  name: parameterName.describe("The parameter."),
  secret: ownSecret,
});

export const query: Kind<"query", typeof fields, void, SetInjector> = {
  kind: "query",
  fields,
  summary: "sends the secret as the query parameter 'name'",
  create: ({ name }) => {
    const folded = foldParameterName(name);
    const start = `${percentEncode(Buffer.from(name, "latin1"), UNRESERVED_MARKS)}=`;
    const encoded = (secret: SecretValue): string => secret.lend((bytes) => percentEncode(bytes, UNRESERVED_MARKS));
    return {
      kind: "query",
      places: [{ in: "query", name }],
      plan: (_target, secret) => ({ to: "query", name: folded, parameter: start + encoded(secret) }),
      derived: (secret) => [Buffer.from(encoded(secret), "latin1")],
    };
  },
};
