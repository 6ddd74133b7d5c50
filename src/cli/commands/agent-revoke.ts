/** `agent revoke`: an end to an agent, with its tokens and its sidecars. */
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const agentRevoke: CommandSpec = {
  name: "agent revoke",
  summary: "revoke an agent's key, with its tokens and its sidecars, at once",
  parameters: [{ syntax: "<agent>", summary: "its name or id, as 'agent list' shows them" }],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey agent revoke research"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("agent revoke", invocation);
    const [agent = ""] = parameters;
    if (/^(?:ast_agent_|ask_op_)/.test(agent)) throw keyInArgument();
    if (asksServer(invocation)) await withServer("agent revoke", invocation, (vault) => vault.agents.revoke(agent));
    else {
      await withVault(
        invocation,
        async ({ vault, config }) => {
          const { name } = await vault.agents.find(agent);
          await onRecord(config, {
            events: [adminEvent(`agent revoke ${name}`)],
            change: () => vault.agents.revoke(agent),
            done: () => [adminEvent(`agent revoke ${name}`)],
          });
        },
        (directory) => {
          throw new SidekeyError("IDENTITY_AGENT_UNKNOWN", { detail: `There is no vault in ${directory} yet.` });
        },
      );
    }
    if (options.flag("json")) terminal.printJson({ agent, revoked: true });
    else terminal.print(`revoked ${agent}`);
    return EXIT_OK;
  },
};

const keyInArgument = (): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", {
    detail: "That is a key, not a name; nothing was revoked.",
    hint: "An argument is seen by others. Revoke its agent by name: sidekey agent list shows which it is by its beginning.",
  });
