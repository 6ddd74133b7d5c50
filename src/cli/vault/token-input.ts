/** A token from the command line: from standard input, or as an argument where the command allows it. */
import { SidekeyError } from "../../core/errors.ts";
import type { Invocation } from "../command.ts";

/** The id that a token says it has, unverified: whoever is told it looks it up. Errors: CONFIG_USAGE. */
export const claimedId = (token: string): string => {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    if (typeof claims === "object" && claims !== null && "jti" in claims && typeof claims.jti === "string") {
      return claims.jti;
    }
  } catch {
    // What the parser says quotes the token.
  }
  throw new SidekeyError("CONFIG_USAGE", { detail: "That is no token of a vault." });
};

/** Errors: CONFIG_USAGE when standard input is empty. */
export const readTokenFromInput = async ({ terminal }: Invocation, command: string): Promise<string> => {
  const text = (await terminal.readSecret("Token (not shown)")).toString("utf8").trim();
  if (text !== "") return text;
  throw new SidekeyError("CONFIG_USAGE", {
    detail: "No token came on standard input.",
    hint: `sidekey ${command} < FILE`,
  });
};
