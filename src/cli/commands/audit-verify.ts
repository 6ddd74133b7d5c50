/** `audit verify`: checks the chain of every log of the state directory, and names the first bad record of each. */
import { statSync } from "node:fs";
import type { AuditVerdict } from "../../audit/index.ts";
import { SidekeyError } from "../../core/errors.ts";
import { readingAudit } from "../audit-reading.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadConfigOrDefaults } from "../context.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";

export const auditVerify: CommandSpec = {
  name: "audit verify",
  summary: "check that no audit record was changed, removed or added, and name the first bad one",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: [
    "sidekey audit verify         # 0: every log is whole; 1: one is not, or cannot be read; 2: wrong usage",
    "sidekey audit verify --json",
  ],
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
      const key = readKey(() => readAuditKey(nodeAuditFs, config.audit.key));
      for (const log of logs) {
        const tell = (records: number): void => terminal.progress(`${log.path}: ${records} records so far`);
        verdicts.push({ path: log.path, ...(await readingAudit(() => verifyLog(log, key, tell))) });
      }
      terminal.progress(undefined);
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
  const { first, last, records, anchored, tornBytes } = verdict;
  const range = first === undefined || last === undefined ? "" : ` (${first} to ${last.seq})`;
  const torn = tornBytes === 0 ? "" : `; ${tornBytes} bytes of a torn record at the end, which the next start repairs`;
  const head = anchored || records === 0 ? "" : NO_HEAD;
  return `intact, ${records} records${range}${torn}${head}`;
};

/** Every start writes one, within a second or at its end. */
const NO_HEAD =
  "; no head beside it, so nothing tells whether its end is missing: restore the .head file from a backup, or compare " +
  "the last number with one you know";

/** Errors: AUDIT_KEY_UNREADABLE. */
const readKey = (read: () => Buffer): Buffer => {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    throw new SidekeyError("AUDIT_KEY_UNREADABLE", {
      ...(error.detail !== undefined && { detail: error.detail }),
      hint: "Restore the key the log was made with from your backup, or name it with 'audit.key'; a new one cannot verify.",
      cause: error.cause,
    });
  }
};

const describe = (verdict: Described): Readonly<Record<string, unknown>> => {
  if (!verdict.ok) return { ...verdict };
  const { path, ok, first, last, records, anchored, tornBytes } = verdict;
  return { path, ok, records, first, last: last?.seq, anchored, torn_bytes: tornBytes };
};
