/** A cookie (RFC 6265), set beside the agent's other ones. */
import * as z from "zod";
import type { Kind } from "../../../core/kind.ts";
import { cookieText } from "../cookie.ts";
import { cookieName, ownSecret } from "../fields.ts";
import type { SetInjector } from "../injector.ts";
import { foldParameterName } from "../parameter-name.ts";

const fields = z.strictObject({
  kind: z.literal("cookie"),
  name: cookieName.describe("The cookie."),
  secret: ownSecret,
});

export const cookie: Kind<"cookie", typeof fields, void, SetInjector> = {
  kind: "cookie",
  fields,
  summary: "sends the secret as the cookie 'name'",
  create: ({ name }) => {
    const folded = foldParameterName(name);
    return {
      kind: "cookie",
      places: [{ in: "cookie", name }],
      plan: (_target, secret) => ({ to: "cookie", name: folded, pair: `${name}=${cookieText(secret)}` }),
      derived: () => [],
    };
  },
};
