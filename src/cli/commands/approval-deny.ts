/** `approval deny`: a person's no to what an agent asked for. */
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord, operatorName } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const approvalDeny: CommandSpec = {
  name: "approval deny",
  summary: "refuse what an agent asked for",
  parameters: [{ syntax: "<id>", summary: "as 'approval list' shows it" }],
  options: [
    { flags: "--reason <text>", summary: "one line, which the agent is told", required: true },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: ["sidekey approval deny 01jd8w6x5v --reason 'use the sandbox key'"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("approval deny", invocation);
    const [id = ""] = parameters;
    const reason = options.text("reason") ?? "";
    if (asksServer(invocation)) {
      await withServer("approval deny", invocation, (vault) => vault.approvals.deny(id, { reason }));
    } else {
      await withVault(
        invocation,
        async ({ vault, config }) => {
          const known = await vault.approvals.get(id);
          const event = adminEvent(`approval deny ${known.id}`);
          await onRecord(config, {
            events: [event],
            change: () => vault.approvals.deny(known.id, { by: operatorName(), isUnrecorded: true, reason }),
            done: () => [event],
          });
        },
        (directory) => {
          throw new SidekeyError("VAULT_APPROVAL_UNKNOWN", { detail: `There is no vault in ${directory} yet.` });
        },
      );
    }
    if (options.flag("json")) terminal.printJson({ id, status: "denied" });
    else terminal.print(`denied ${id}`);
    return EXIT_OK;
  },
};
