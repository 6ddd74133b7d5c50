/** `agent list`: who may ask the vault for tokens, never a key. */
import type { AgentInfo as ServerAgent } from "../../client/index.ts";
import type { AgentInfo } from "../../vault/index.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { table } from "../table.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const agentList: CommandSpec = {
  name: "agent list",
  summary: "list the agents and operators of a vault, never their keys",
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey agent list", "sidekey agent list --vault https://vault.internal:7200 --json"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const agents: readonly ServerAgent[] = asksServer(invocation)
      ? await withServer("agent list", invocation, async (vault) => {
          const { allPages } = await import("../../client/index.ts");
          return allPages((page) => vault.agents.list(page));
        })
      : await withVault(
          invocation,
          async ({ vault }) => (await vault.agents.list()).map(fromHere),
          () => [],
        );
    if (options.flag("json")) terminal.printJson(agents.map(describe));
    else if (agents.length === 0)
      terminal.note("no agents yet; make one with: sidekey agent create NAME --scope SCOPE");
    else {
      const rows = agents.map(({ id, name, operator, active, lastActiveAt, scopes }) => [
        name,
        operator ? "operator" : "agent",
        active ? "active" : "revoked",
        lastActiveAt === undefined ? "-" : new Date(lastActiveAt).toISOString(),
        id,
        scopes.join(" "),
      ]);
      terminal.print(table(["NAME", "KIND", "STATE", "LAST ACTIVE", "ID", "SCOPES"], rows));
    }
    return EXIT_OK;
  },
};

const fromHere = (info: AgentInfo): ServerAgent => ({
  id: info.id,
  name: info.name,
  operator: info.kind === "operator",
  scopes: info.scopes.map(({ text }) => text),
  namespaces: info.namespaces,
  reads: info.reads,
  keyPrefix: info.keyPrefix,
  active: info.revokedAt === undefined,
  createdAt: info.createdAt,
  ...(info.description !== undefined && { description: info.description }),
  ...(info.place !== undefined && { place: info.place }),
  ...(info.lastActiveAt !== undefined && { lastActiveAt: info.lastActiveAt }),
});

const describe = (agent: ServerAgent): object => ({
  id: agent.id,
  name: agent.name,
  description: agent.description,
  operator: agent.operator,
  scopes: agent.scopes,
  namespaces: agent.namespaces,
  reads: agent.reads,
  place: agent.place,
  key_prefix: agent.keyPrefix,
  active: agent.active,
  created_at: time(agent.createdAt),
  last_active_at: time(agent.lastActiveAt),
});

const time = (at: number | undefined): string | undefined =>
  at === undefined ? undefined : new Date(at).toISOString();
