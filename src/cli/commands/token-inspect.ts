/** `token inspect`: what a token says, and whether this vault stands by it now. */
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { TokenClaims } from "../../identity/token.ts";
import type { Vault } from "../../vault/index.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { describeClaims } from "../token-claims.ts";
import { readTokenFromInput } from "../token-input.ts";
import { SOURCE_OPTION, VAULT_OPTION, withVault } from "../vault-access.ts";

export const tokenInspect: CommandSpec = {
  name: "token inspect",
  summary: "print a token's claims and whether it is valid now; it is read from standard input",
  parameters: [
    { syntax: "[token]", summary: "the token, or - for standard input (better: arguments are seen by others)" },
  ],
  options: [SOURCE_OPTION, VAULT_OPTION, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey token inspect < agent.token"],
  async run(invocation) {
    const { options, terminal } = invocation;
    refuseInsideRun("token inspect", invocation);
    const token = await readToken(invocation);
    const { claims, state } = await withVault(
      invocation,
      ({ vault }) => judge(vault, token),
      (directory) => {
        throw new SidekeyError("IDENTITY_TOKEN_INVALID", { detail: `There is no vault in ${directory} yet.` });
      },
    );
    const valid = state === undefined;
    const described = describeClaims(claims);
    if (options.flag("json")) {
      terminal.printJson({ valid, ...(state !== undefined && { code: state.code }), ...described });
    } else {
      const lines = Object.entries(described).map(([name, value]) => `${name.padEnd(11)} ${value}`);
      terminal.print([...lines, `${"valid".padEnd(11)} ${valid ? "yes" : `no: ${state.publicMessage}`}`].join("\n"));
    }
    return valid ? EXIT_OK : EXIT_FAILED;
  },
};

const readToken = async (invocation: Invocation): Promise<string> => {
  const [argument] = invocation.parameters;
  if (argument !== undefined && argument !== "-") return argument;
  return readTokenFromInput(invocation, "token inspect");
};

/** Claims are shown only of a token that this vault signed; the others throw. */
const judge = async (
  { tokens }: Vault,
  token: string,
): Promise<{ readonly claims: TokenClaims; readonly state: SidekeyError | undefined }> => {
  const claims = await tokens.inspect(token);
  const state = await tokens.verify(token).then(
    () => undefined,
    (error: unknown) => toSidekeyError(error),
  );
  if (state !== undefined && !state.code.startsWith("IDENTITY_")) throw state;
  return { claims, state };
};
