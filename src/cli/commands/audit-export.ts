/** `audit export`: the audit of a vault server as it is stored, one JSON document a line, to be kept elsewhere and verified. */
import { SidekeyError } from "../../core/errors.ts";
import { FILTER_OPTIONS } from "../audit/filters.ts";
import { CONFIG_OPTION, type CommandSpec, sameWithJson } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

const FILTERS: ReadonlySet<string> = new Set(["--since", "--until", "--agent", "--event", "--actor", "--secret"]);

export const auditExport: CommandSpec = {
  name: "audit export",
  summary: "print the audit of a vault server as it is stored, one JSON document a line, oldest first",
  options: [
    { flags: "--after <seq>", summary: "only what is behind this record: to go on where an earlier export ended" },
    ...FILTER_OPTIONS.filter(({ flags }) => FILTERS.has(flags.split(" ")[0] ?? "")),
    ...SERVER_OPTIONS,
    { ...CONFIG_OPTION, summary: "taken, and not read: the audit is the server's" },
    sameWithJson("it is JSON lines anyway"),
  ],
  examples: [
    "sidekey audit export --vault https://vault.internal:7200 --key-file operator.key > audit.ndjson",
    "sidekey audit export --vault https://vault.internal:7200 --after 4711 >> audit.ndjson",
    "sidekey audit verify audit.ndjson -c vault.yaml    # where the audit's key is",
  ],
  async run(invocation) {
    if (!asksServer(invocation)) {
      throw new SidekeyError("CONFIG_USAGE", {
        detail: "This is for a vault server: name it with --vault URL.",
        hint: "The logs of this machine, as they are stored: sidekey audit search --json",
      });
    }
    const { exportServerAudit } = await import("../audit/server.ts");
    const count = await withServer("audit export", invocation, (vault) =>
      exportServerAudit(vault, invocation, Date.now()),
    );
    invocation.terminal.note(count === 1 ? "1 record" : `${count} records`);
    return EXIT_OK;
  },
};
