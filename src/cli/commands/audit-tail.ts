/** `audit tail`: the last records of every log of the state directory, and those that come. */
import { SidekeyError } from "../../core/errors.ts";
import { formatRecord } from "../audit-line.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION, type Options } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_OK } from "../exit.ts";

const DEFAULT_COUNT = 20;

export const auditTail: CommandSpec = {
  name: "audit tail",
  summary: "print the last audit records, of 'start' and of every 'run'",
  options: [
    { flags: "-n, --lines <n>", summary: `how many (default: ${DEFAULT_COUNT})` },
    { flags: "-f, --follow", summary: "go on with those that come" },
    CONFIG_OPTION,
    { ...JSON_OPTION, summary: "print the records as they are stored, one JSON document a line" },
  ],
  examples: ["sidekey audit tail", "sidekey audit tail -f", "sidekey audit tail -n 1000 --json | jq .code"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const count = parseCount(options);
    const config = await loadConfigOrDefaults(invocation);
    const { findAuditLogs, tailAudit } = await import("../../audit/index.ts");
    const logs = findAuditLogs(config.state, config.audit.path);
    const show = (line: string): void => terminal.print(options.flag("json") ? line : formatRecord(line));

    const lines: string[] = [];
    for (const { path } of logs) {
      for await (const line of tailAudit({ path, last: count, follow: false })) lines.push(line);
    }
    // Each log is in order; among logs the time decides.
    lines.sort((a, b) => compareText(timeOf(a), timeOf(b)));
    for (const line of count === 0 ? [] : lines.slice(-count)) show(line);
    if (options.flag("follow")) {
      await Promise.all(
        logs.map(async ({ path }) => {
          for await (const line of tailAudit({ path, last: 0, follow: true })) show(line);
        }),
      );
    }
    if (lines.length === 0 && !options.flag("json")) terminal.note("no audit records yet");
    return EXIT_OK;
  },
};

const parseCount = (options: Options): number => {
  const text = options.text("lines") ?? String(DEFAULT_COUNT);
  if (/^(?:0|[1-9][0-9]{0,6})$/.test(text)) return Number(text);
  throw new SidekeyError("CONFIG_USAGE", { detail: "-n takes a whole number." });
};

const timeOf = (line: string): string => /"time":"([^"]*)"/.exec(line)?.[1] ?? "";

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
