/** `audit tail`: the last records of every log of the state directory, and those that come, also in logs that begin later. */
import { SidekeyError } from "../../core/errors.ts";
import { formatRecord } from "../audit/line.ts";
import { AUDIT_FILE_OPTION, findAudit } from "../audit/logs.ts";
import { readingAudit } from "../audit/reading.ts";
import { type CommandSpec, JSON_OPTION, type Options } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

const DEFAULT_COUNT = 20;

export const auditTail: CommandSpec = {
  name: "audit tail",
  summary: "print the last audit records, of 'start', of every 'run' and of 'vault serve', or of a vault server",
  options: [
    { flags: "-n, --lines <n>", summary: `how many (default: ${DEFAULT_COUNT})` },
    { flags: "-f, --follow", summary: "go on with those that come" },
    ...SERVER_OPTIONS,
    AUDIT_FILE_OPTION,
    { ...JSON_OPTION, summary: "print the records as they are stored, one JSON document a line" },
  ],
  examples: ["sidekey audit tail", "sidekey audit tail -f", "sidekey audit tail -n 1000 --json | jq .code"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const count = parseCount(options);
    if (asksServer(invocation)) {
      const { tailServerAudit } = await import("../audit/server.ts");
      await withServer("audit tail", invocation, (vault) => tailServerAudit(vault, invocation, count));
      return EXIT_OK;
    }
    const places = await findAudit(invocation);
    const { tailAudit } = await import("../../audit/index.ts");
    const logs = (): string[] => places.logs().map(({ path }) => path);
    const follow = options.flag("follow");
    const json = options.flag("json");
    let isEmpty = true;
    await readingAudit(async () => {
      for await (const line of tailAudit({ logs, last: count, follow })) {
        isEmpty = false;
        terminal.print(json ? line : formatRecord(line));
      }
    });
    if (isEmpty && !json) terminal.note("no audit records yet");
    return EXIT_OK;
  },
};

const parseCount = (options: Options): number => {
  const text = options.text("lines") ?? String(DEFAULT_COUNT);
  if (/^(?:0|[1-9][0-9]{0,6})$/.test(text)) return Number(text);
  throw new SidekeyError("CONFIG_USAGE", { detail: "-n takes a whole number." });
};
