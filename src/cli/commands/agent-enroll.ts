/** `agent enroll`: lets a sidecar's own key redeem for an agent, so that the sidecar needs no agent key. */
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

/** RFC 7638 over SHA-256: 32 bytes in base64url. */
const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;

export const agentEnroll: CommandSpec = {
  name: "agent enroll",
  summary: "enrol a sidecar's key for an agent, by the thumbprint that 'sidekey identity' prints",
  parameters: [{ syntax: "<agent>", summary: "name or id of the agent" }],
  options: [
    { flags: "--jkt <thumbprint>", summary: "the sidecar's key", required: true },
    { flags: "--name <name>", summary: "what the sidecar is called (default: the agent's name)" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: ["sidekey agent enroll research --jkt NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("agent enroll", invocation);
    const [agent = ""] = parameters;
    const jkt = options.text("jkt") ?? "";
    const name = options.text("name") ?? agent;
    if (!THUMBPRINT.test(jkt)) {
      throw new SidekeyError("CONFIG_USAGE", {
        detail: "--jkt takes a key thumbprint of 43 characters.",
        hint: "The sidecar prints its own with: sidekey identity",
      });
    }
    const event = adminEvent(`agent enroll ${/^[A-Za-z0-9._-]{1,64}$/.test(agent) ? agent : "of an unknown name"}`);
    const { id } = asksServer(invocation)
      ? await withServer("agent enroll", invocation, (vault) => vault.sidecars.enroll({ agent, jkt, name }))
      : await withVault(
          invocation,
          ({ vault, config }) =>
            onRecord(config, {
              events: [event],
              change: async () => {
                const { id: agentId } = await vault.agents.find(agent);
                return vault.sidecars.enroll({ agentId, jkt, name });
              },
              done: () => [event],
            }),
          (directory) => {
            throw new SidekeyError("IDENTITY_AGENT_UNKNOWN", { detail: `There is no vault in ${directory} yet.` });
          },
        );
    if (options.flag("json")) terminal.printJson({ id, agent, name, jkt });
    else terminal.print(`enrolled ${jkt} for ${agent}`);
    return EXIT_OK;
  },
};
