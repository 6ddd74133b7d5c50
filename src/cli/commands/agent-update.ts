/** `agent update`: changes what an agent may; its key stays, and its tokens that reach further are revoked. */
import type { AgentUpdate } from "../../client/index.ts";
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION, type Options } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

const READS = ["value", "placeholder"] as const;

export const agentUpdate: CommandSpec = {
  name: "agent update",
  summary: "change what an agent may; its key stays, and its tokens that reach further are revoked",
  parameters: [{ syntax: "<agent>", summary: "its name or id, as 'agent list' shows them" }],
  options: [
    { flags: "--scope <scope>", summary: "instead of those it has; may be repeated", repeat: true },
    { flags: "--namespace <namespace>", summary: "instead of those it has; may be repeated", repeat: true },
    { flags: "--reads <what>", summary: "what a plain read answers to its tokens", choices: READS },
    { flags: "--place <place>", summary: "organization[/team[/workspace]]; '' for none" },
    { flags: "--description <text>", summary: "one line on what it is for; '' for none" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: ["sidekey agent update research --scope 'secrets:use:production/openai/*'"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("agent update", invocation);
    const [agent = ""] = parameters;
    const update = await readUpdate(agent, options);
    if (asksServer(invocation)) {
      await withServer("agent update", invocation, (vault) => vault.agents.update(agent, update));
    } else await updateHere(invocation, agent, update);
    if (options.flag("json")) terminal.printJson({ agent, updated: true });
    else terminal.print(`updated ${agent}`);
    return EXIT_OK;
  },
};

const updateHere = async (
  invocation: Parameters<CommandSpec["run"]>[0],
  agent: string,
  { scopes, ...rest }: AgentUpdate,
): Promise<void> => {
  const { parseScope } = await import("../../identity/scope.ts");
  await withVault(
    invocation,
    async ({ vault, config }) => {
      const { name } = await vault.agents.find(agent);
      await onRecord(config, {
        events: [adminEvent(`agent update ${name}`)],
        change: () =>
          vault.agents.update(agent, { ...rest, ...(scopes !== undefined && { scopes: scopes.map(parseScope) }) }),
        done: () => [adminEvent(`agent update ${name}`)],
      });
    },
    (directory) => {
      throw new SidekeyError("IDENTITY_AGENT_UNKNOWN", { detail: `There is no vault in ${directory} yet.` });
    },
  );
};

/** Errors: CONFIG_USAGE, IDENTITY_BAD_SCOPE. */
const readUpdate = async (agent: string, options: Options): Promise<AgentUpdate> => {
  if (/^(?:ast_agent_|ask_op_)/.test(agent)) {
    throw usage("That is a key, not a name; nothing was changed. An argument is seen by others: revoke its agent.");
  }
  const scopes = options.list("scope");
  const namespaces = options.list("namespace");
  const reads = READS.find((known) => known === options.text("reads"));
  const place = options.text("place");
  const description = options.text("description");
  const { parseScope } = await import("../../identity/scope.ts");
  scopes.map(parseScope);
  const update: AgentUpdate = {
    ...(scopes.length > 0 && { scopes }),
    ...(namespaces.length > 0 && { namespaces }),
    ...(reads !== undefined && { reads }),
    ...(place !== undefined && { place: place === "" ? null : place }),
    ...(description !== undefined && { description: description === "" ? null : description }),
  };
  if (Object.keys(update).length === 0) throw usage("Say what to change: --scope, --description and the like.");
  return update;
};

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
