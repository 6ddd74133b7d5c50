/** `approval list`: what agents want and a person has to decide on. */

import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { table } from "../table.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { describeApproval, fromHere } from "../vault/approval-shape.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

const STATUSES = ["pending", "approved", "denied", "expired"] as const;

export const approvalList: CommandSpec = {
  name: "approval list",
  summary: "list what agents ask for and a person has to allow",
  options: [
    { flags: "--status <status>", summary: "only those (default: pending)", choices: [...STATUSES, "all"] },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: ["sidekey approval list", "sidekey approval list --status all --vault https://vault.internal:7200"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const wanted = options.text("status") ?? "pending";
    const status = STATUSES.find((known) => known === wanted);
    const only = status === undefined ? {} : { status };
    const approvals = asksServer(invocation)
      ? await withServer("approval list", invocation, async (vault) => {
          const { allPages } = await import("../../client/index.ts");
          return allPages((page) => vault.approvals.list({ ...page, ...only }));
        })
      : await withVault(
          invocation,
          async ({ vault }) => (await vault.approvals.list(only)).map(fromHere),
          () => [],
        );
    if (options.flag("json")) terminal.printJson(approvals.map(describeApproval));
    else if (approvals.length === 0) terminal.note(status === "pending" ? "nothing waits for a decision" : "none");
    else {
      const rows = approvals.map(({ id, agent = "-", status: state, tier = "-", expiresAt, scopes, reason }) => [
        id,
        agent,
        state,
        tier,
        expiresAt === undefined ? "-" : new Date(expiresAt).toISOString(),
        scopes.join(" "),
        // An agent's own words.
        reason === undefined ? "-" : JSON.stringify(reason),
      ]);
      terminal.print(table(["ID", "AGENT", "STATE", "TIER", "UNTIL", "SCOPES", "REASON"], rows));
    }
    return EXIT_OK;
  },
};
