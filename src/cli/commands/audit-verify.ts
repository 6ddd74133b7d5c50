/** `audit verify`: checks the chain of every log of the state directory, and names the first bad record of each. */
import { statSync } from "node:fs";
import type { AuditVerdict } from "../../audit/index.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";

export const auditVerify: CommandSpec = {
  name: "audit verify",
  summary: "check that no audit record was changed, removed or added, and name the first bad one",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey audit verify", "sidekey audit verify --json"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const config = await loadConfigOrDefaults(invocation);
    const { filesOfLog, findAuditLogs, verifyLog } = await import("../../audit/index.ts");
    const logs = findAuditLogs(config.state, config.audit.path).filter(
      // A device in place of a log keeps nothing that could be verified.
      ({ path, headPath }) => filesOfLog(path).every(isFile) && (filesOfLog(path).length > 0 || isFile(headPath)),
    );
    const verdicts: (AuditVerdict & { readonly path: string })[] = [];
    if (logs.length > 0) {
      const { readAuditKey } = await import("../../audit/key.ts");
      const { nodeAuditFs } = await import("../../audit/file-access.ts");
      const key = readAuditKey(nodeAuditFs, config.audit.key);
      for (const log of logs) verdicts.push({ path: log.path, ...(await verifyLog(log, key)) });
    }
    const ok = verdicts.every((verdict) => verdict.ok);
    if (options.flag("json")) terminal.printJson({ ok, logs: verdicts.map(describe) });
    else if (verdicts.length === 0) terminal.note("no audit records yet");
    else for (const verdict of verdicts) terminal.print(`${verdict.path}: ${sentence(verdict)}`);
    return ok ? EXIT_OK : EXIT_FAILED;
  },
};

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

type Described = AuditVerdict & { readonly path: string };

const sentence = (verdict: AuditVerdict): string => {
  if (!verdict.ok) return `BROKEN at record ${verdict.bad}. ${verdict.detail}`;
  const { first, last, records, tornBytes } = verdict;
  const range = first === undefined || last === undefined ? "" : ` (${first} to ${last.seq})`;
  const torn = tornBytes === 0 ? "" : `; ${tornBytes} bytes of a torn record at the end, which the next start repairs`;
  return `intact, ${records} records${range}${torn}`;
};

const describe = (verdict: Described): Readonly<Record<string, unknown>> => {
  if (!verdict.ok) return { ...verdict };
  const { path, ok, first, last, records, tornBytes } = verdict;
  return { path, ok, records, first, last: last?.seq, torn_bytes: tornBytes };
};
