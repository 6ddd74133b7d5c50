/** `approval approve`: a person's yes to what an agent asked for. */
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord, operatorName } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const approvalApprove: CommandSpec = {
  name: "approval approve",
  summary: "allow what an agent asked for; its next request for that token gets it",
  parameters: [{ syntax: "<id>", summary: "as 'approval list' shows it" }],
  options: [
    { flags: "--reason <text>", summary: "one line, kept with the decision" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: ["sidekey approval approve 01jd8w6x5v --reason 'for the audit of May'"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("approval approve", invocation);
    const [id = ""] = parameters;
    const text = options.text("reason");
    const reason = text === undefined ? {} : { reason: text };
    const status = asksServer(invocation)
      ? await withServer("approval approve", invocation, async (vault) => {
          await vault.approvals.approve(id, reason);
          return (await vault.approvals.get(id)).status;
        })
      : await withVault(
          invocation,
          async ({ vault, config }) => {
            const known = await vault.approvals.get(id);
            const event = adminEvent(`approval approve ${known.id}`);
            const decided = await onRecord(config, {
              events: [event],
              change: () => vault.approvals.approve(known.id, { by: operatorName(), isUnrecorded: true, ...reason }),
              done: () => [event],
            });
            return decided.status;
          },
          (directory) => {
            throw new SidekeyError("VAULT_APPROVAL_UNKNOWN", { detail: `There is no vault in ${directory} yet.` });
          },
        );
    if (options.flag("json")) terminal.printJson({ id, status });
    else terminal.print(status === "pending" ? `approved ${id}; another operator has to as well` : `approved ${id}`);
    return EXIT_OK;
  },
};
