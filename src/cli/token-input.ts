/** A token from the command line: from standard input, or as an argument where the command allows it. */
import { SidekeyError } from "../core/errors.ts";
import type { Invocation } from "./command.ts";

/** Errors: CONFIG_USAGE when standard input is empty. */
export const readTokenFromInput = async ({ terminal }: Invocation, command: string): Promise<string> => {
  const text = (await terminal.readSecret("Token (not shown)")).toString("utf8").trim();
  if (text !== "") return text;
  throw new SidekeyError("CONFIG_USAGE", {
    detail: "No token came on standard input.",
    hint: `sidekey ${command} < FILE`,
  });
};
