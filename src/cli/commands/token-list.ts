/** `token list`: the tokens this vault knows, never a token itself. */
import type { AgentVault } from "../../client/index.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { table } from "../table.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

interface Shown {
  readonly id: string;
  readonly agent: string;
  readonly scope: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly revokedAt?: number | undefined;
}

export const tokenList: CommandSpec = {
  name: "token list",
  summary: "list the tokens that this vault issued and still knows",
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey token list", "sidekey token list --json"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const tokens: readonly Shown[] = asksServer(invocation)
      ? await withServer("token list", invocation, listOfServer)
      : await withVault(
          invocation,
          ({ vault }) => vault.tokens.list(),
          () => [],
        );
    const now = Date.now();
    const time = (at: number): string => new Date(at).toISOString();
    const stateOf = (expiresAt: number, revokedAt: number | undefined): string => {
      if (revokedAt !== undefined) return "revoked";
      return expiresAt <= now ? "expired" : "active";
    };
    if (options.flag("json")) {
      terminal.printJson(
        tokens.map(({ id, agent, scope, issuedAt, expiresAt, revokedAt }) => ({
          id,
          agent,
          scope,
          state: stateOf(expiresAt, revokedAt),
          issued_at: time(issuedAt),
          expires_at: time(expiresAt),
          ...(revokedAt !== undefined && { revoked_at: time(revokedAt) }),
        })),
      );
    } else if (tokens.length === 0) {
      terminal.note("no tokens yet; issue one with: sidekey token issue --scope 'secrets:use:PATH'");
    } else {
      const rows = tokens.map(({ id, agent, scope, expiresAt, revokedAt }) => [
        id,
        agent,
        stateOf(expiresAt, revokedAt),
        time(expiresAt),
        scope,
      ]);
      terminal.print(table(["ID", "AGENT", "STATE", "EXPIRES", "SCOPE"], rows));
    }
    return EXIT_OK;
  },
};

const listOfServer = async (vault: AgentVault): Promise<readonly Shown[]> => {
  const { allPages } = await import("../../client/index.ts");
  const tokens = await allPages((page) => vault.tokens.list(page));
  return tokens.map(({ agent, agentId, scopes, ...token }) => ({
    ...token,
    agent: agent ?? agentId,
    scope: scopes.join(" "),
  }));
};
