/** `audit search`: records by time and by what they say, of every log of the state directory with its rotated files. */

import { FILTER_OPTIONS, readFilter } from "../audit/filters.ts";
import { formatRecord } from "../audit/line.ts";
import { AUDIT_FILE_OPTION, findAudit } from "../audit/logs.ts";
import { readingAudit } from "../audit/reading.ts";
import { type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

/** Lines that are no records, told one by one; the rest is counted. */
const BAD_LINES_TOLD = 5;

export const auditSearch: CommandSpec = {
  name: "audit search",
  summary: "find audit records; an intent is shown with its outcome, and judged as one with it",
  options: [
    ...FILTER_OPTIONS,
    ...SERVER_OPTIONS,
    AUDIT_FILE_OPTION,
    { ...JSON_OPTION, summary: "print the records as they are stored, one JSON document a line" },
  ],
  examples: [
    "sidekey audit search --since 15m --decision deny",
    "sidekey audit search --secret 'production/openai/*' --since 2026-11-25T09:00:00Z --until 2026-11-25T10:00:00Z",
    "sidekey audit search --code 'UPSTREAM_*' --limit 20",
    "sidekey audit search -c vault.yaml --event 'secret.*' --agent researcher --since 1d",
    "sidekey audit search --vault https://vault.internal:7200 --event 'secret.*' --since 1h",
    "sidekey audit search --request 116099938371-2 --json | jq .ms",
  ],
  async run(invocation) {
    const { options, terminal } = invocation;
    if (asksServer(invocation)) {
      const { searchServerAudit } = await import("../audit/server.ts");
      await withServer("audit search", invocation, (vault) => searchServerAudit(vault, invocation, Date.now()));
      return EXIT_OK;
    }
    const { filter, limit } = readFilter(options, Date.now());
    const places = await findAudit(invocation);
    const { searchAudit } = await import("../../audit/index.ts");
    const logs = places.logs().map(({ path }) => path);
    const json = options.flag("json");
    let found = 0;
    let badLines = 0;
    const show = (line: string): void => terminal.print(json ? line : formatRecord(line));
    const last = limit === undefined ? undefined : createLast(limit);
    await readingAudit(() => {
      const onBadLine = ({ file, number }: { readonly file: string; readonly number: number }): void => {
        badLines += 1;
        if (badLines <= BAD_LINES_TOLD) terminal.note(`${file}: line ${number} is not a record`);
      };
      for (const line of searchAudit({ logs, filter, onBadLine })) {
        found += 1;
        if (last === undefined) show(line);
        else last.add(line);
      }
    });
    for (const line of last?.lines() ?? []) show(line);
    if (badLines > 0) terminal.note(`${badLines} lines are not records; see what they are: sidekey audit verify`);
    if (found === 0 && !json) terminal.note("no audit record matches");
    return EXIT_OK;
  },
};

/** The last few of many. */
const createLast = (limit: number) => {
  const ring: string[] = [];
  let next = 0;
  return {
    add(line: string): void {
      // A copy: a slice would keep the whole piece of the file alive that it was cut from.
      ring[next] = Buffer.from(line, "latin1").toString("latin1");
      next = (next + 1) % limit;
    },
    lines: (): readonly string[] => [...ring.slice(next), ...ring.slice(0, next)],
  };
};
