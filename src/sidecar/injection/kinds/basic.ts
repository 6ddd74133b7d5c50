/** `Authorization: Basic base64(username:S)` (RFC 7617). */
import * as z from "zod";
import type { Kind } from "../../../core/kind.ts";
import type { SecretValue } from "../../../core/secret-value.ts";
import { basicUsername, ownSecret } from "../fields.ts";
import type { SetInjector } from "../injector.ts";

const fields = z.strictObject({
  kind: z.literal("basic"),
  username: basicUsername.optional().describe("Without it the secret is user:password."),
  secret: ownSecret,
});

export const basic: Kind<"basic", typeof fields, void, SetInjector> = {
  kind: "basic",
  fields,
  summary: "sends 'Basic base64(username:S)'; without 'username' the secret is 'user:password'",
  create: ({ username }) => {
    const prefix = username === undefined ? Buffer.alloc(0) : Buffer.from(`${username}:`, "latin1");
    const blob = (secret: SecretValue): string =>
      secret.lend((bytes) => Buffer.concat([prefix, bytes]).toString("base64"));
    return {
      kind: "basic",
      places: [{ in: "header", name: "Authorization" }],
      plan: (_target, secret) => ({ to: "header", name: "Authorization", value: `Basic ${blob(secret)}` }),
      // The blob, and what stands behind the colon when the secret itself is user:password.
      derived: (secret) => {
        const derived = [Buffer.from(blob(secret), "latin1")];
        if (username === undefined) {
          const password = secret.lend((bytes) => Buffer.from(bytes.subarray(bytes.indexOf(0x3a) + 1)));
          if (password.length > 0) derived.push(password);
        }
        return derived;
      },
    };
  },
};
