/** `sidecar list`: whose keys may redeem at a vault, revoked ones too. Thumbprints, never a key. */
import type { AgentVault } from "../../client/index.ts";
import type { AnyVault } from "../../vault/index.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { table } from "../table.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

interface Shown {
  readonly id: string;
  readonly name: string;
  readonly jkt: string;
  /** Name of the agent, or its id where the name is not to be had. */
  readonly agent: string;
  /** Epoch, `ms` */
  readonly createdAt?: number;
  readonly revokedAt?: number;
}

export const sidecarList: CommandSpec = {
  name: "sidecar list",
  summary: "list the sidecars that may redeem for agents, by the thumbprints of their keys",
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey sidecar list", "sidekey sidecar list --vault https://vault.internal:7200 --json"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const sidecars = asksServer(invocation)
      ? await withServer("sidecar list", invocation, listOfServer)
      : await withVault(
          invocation,
          ({ vault }) => listOfStore(vault),
          () => [],
        );
    if (options.flag("json")) terminal.printJson(sidecars.map(describe));
    else if (sidecars.length === 0) {
      terminal.note("no sidecars yet; enrol one with: sidekey agent enroll AGENT --jkt THUMBPRINT");
    } else {
      const rows = sidecars.map(({ id, name, jkt, agent, createdAt, revokedAt }) => [
        // Its own words.
        name === "" ? "-" : name,
        agent,
        revokedAt === undefined ? "active" : "revoked",
        time(createdAt) ?? "-",
        jkt,
        id,
      ]);
      terminal.print(table(["NAME", "AGENT", "STATE", "ENROLLED", "THUMBPRINT", "ID"], rows));
    }
    return EXIT_OK;
  },
};

const listOfServer = async (vault: AgentVault): Promise<readonly Shown[]> => {
  const { allPages } = await import("../../client/index.ts");
  const sidecars = await allPages((page) => vault.sidecars.list(page));
  const names = sidecars.length === 0 ? new Map<string, string>() : await agentNames(vault);
  return sidecars.map(({ agentId = "-", ...sidecar }) => ({ ...sidecar, agent: names.get(agentId) ?? agentId }));
};

/** By id. An agent's key sees its own sidecars, and not the list of agents. */
const agentNames = async (vault: AgentVault): Promise<ReadonlyMap<string, string>> => {
  const { allPages, ScopeError } = await import("../../client/index.ts");
  try {
    const agents = await allPages((page) => vault.agents.list(page));
    return new Map(agents.map(({ id, name }) => [id, name]));
  } catch (error) {
    if (error instanceof ScopeError) return new Map();
    throw error;
  }
};

const listOfStore = async (vault: AnyVault): Promise<readonly Shown[]> => {
  const names = new Map((await vault.agents.list()).map(({ id, name }) => [id, name]));
  return (await vault.sidecars.list()).map(({ agentId, ...sidecar }) => ({
    ...sidecar,
    agent: names.get(agentId) ?? agentId,
  }));
};

const describe = ({ id, name, jkt, agent, createdAt, revokedAt }: Shown): object => ({
  id,
  name,
  agent,
  jkt,
  active: revokedAt === undefined,
  created_at: time(createdAt),
  revoked_at: time(revokedAt),
});

const time = (at: number | undefined): string | undefined =>
  at === undefined ? undefined : new Date(at).toISOString();
