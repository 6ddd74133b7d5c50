/** Scopes as clients write them: a list, one text, or the words of Agent Secret Store's own command line. */
import * as z from "zod";
import { SidekeyError } from "../../../core/errors.ts";
import { formatScopes, parseScopes, type Scope } from "../../../identity/scope.ts";

const ALIASES: Readonly<Record<string, string>> = {
  "read:secrets": "secrets:read:*",
  "write:secrets": "secrets:write:*",
  "rotate:secrets": "secrets:write:*",
  "import:secrets": "secrets:write:*",
};

const text = z
  .string()
  .min(1)
  .max(4096)
  .describe("secrets:ACTION:GLOB; ACTION is read, write, delete, use or *, and '*' in GLOB stands for any text.");

export const scopeList = z.array(text).min(1).max(64);

export const scopeFields = {
  scopes: scopeList.optional(),
  scope: z.string().min(1).max(4096).optional().describe("The same, separated by spaces."),
};

/** Errors: VAULT_SERVER_BAD_REQUEST (none), IDENTITY_BAD_SCOPE. */
export const scopesIn = (given: {
  readonly scopes?: readonly string[] | undefined;
  readonly scope?: string | undefined;
}): readonly Scope[] => {
  const words = [...(given.scopes ?? []), ...(given.scope === undefined ? [] : [given.scope])].flatMap((one) =>
    one.split(" ").filter((word) => word !== ""),
  );
  if (words.length === 0) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
  return parseScopes(words.map((word) => (Object.hasOwn(ALIASES, word) ? (ALIASES[word] ?? word) : word)).join(" "));
};

export const wireScopes = (scopes: readonly Scope[]): { readonly scopes: string[]; readonly scope: string } => ({
  scopes: scopes.map(({ text: one }) => one),
  scope: formatScopes(scopes),
});
