/** `token inspect`: what a token says, and whether this vault stands by it now. */
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { TokenClaims } from "../../identity/token.ts";
import type { AnyVault } from "../../vault/index.ts";
import { CONFIG_OPTION, type CommandSpec, type Invocation, JSON_OPTION } from "../command.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";
import { describeClaims } from "../vault/token-claims.ts";
import { claimedId, readTokenFromInput } from "../vault/token-input.ts";

export const tokenInspect: CommandSpec = {
  name: "token inspect",
  summary: "print a token's claims and whether it is valid now; it is read from standard input",
  parameters: [
    { syntax: "[token]", summary: "the token, or - for standard input (better: arguments are seen by others)" },
  ],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey token inspect < agent.token"],
  async run(invocation) {
    const { options, terminal } = invocation;
    refuseInsideRun("token inspect", invocation);
    const token = await readToken(invocation);
    if (asksServer(invocation)) return inspectAtServer(invocation, token);
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

/** What the vault itself knows of it: the claims of a token that somebody else signed are nobody's word. */
const inspectAtServer = async (invocation: Invocation, token: string): Promise<number> => {
  const { options, terminal } = invocation;
  const id = claimedId(token);
  const known = await withServer("token inspect", invocation, async (vault) => {
    const { allPages } = await import("../../client/index.ts");
    return (await allPages((page) => vault.tokens.list(page))).find((one) => one.id === id);
  });
  if (known === undefined) {
    throw new SidekeyError("IDENTITY_TOKEN_INVALID", {
      detail: "The vault knows no token of this id, or it is another agent's.",
      hint: "See which it knows: sidekey token list --vault URL. An operator's key sees all.",
    });
  }
  const { agent, agentId, scopes, issuedAt, expiresAt, revokedAt, maxUses, uses } = known;
  const valid = revokedAt === undefined && expiresAt > Date.now() && (maxUses === undefined || (uses ?? 0) < maxUses);
  const described = {
    id,
    agent: agent ?? agentId,
    scope: scopes.join(" "),
    issued_at: new Date(issuedAt).toISOString(),
    expires_at: new Date(expiresAt).toISOString(),
    ...(revokedAt !== undefined && { revoked_at: new Date(revokedAt).toISOString() }),
    ...(maxUses !== undefined && { max_uses: maxUses }),
    ...(uses !== undefined && { uses }),
  };
  if (options.flag("json")) terminal.printJson({ valid, ...described });
  else {
    const lines = Object.entries(described).map(([name, value]) => `${name.padEnd(11)} ${value}`);
    terminal.print([...lines, `${"valid".padEnd(11)} ${valid ? "yes" : "no"}`].join("\n"));
  }
  return valid ? EXIT_OK : EXIT_FAILED;
};

const readToken = async (invocation: Invocation): Promise<string> => {
  const [argument] = invocation.parameters;
  if (argument !== undefined && argument !== "-") return argument;
  return readTokenFromInput(invocation, "token inspect");
};

/** Claims are shown only of a token that this vault signed; the others throw. */
const judge = async (
  { tokens }: AnyVault,
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
