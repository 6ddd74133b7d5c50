/**
 * `audit verify`: checks the chain of every log of the state directory, and names the first bad record of each; or that
 * of a file which a vault's server exported.
 */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { AuditVerdict } from "../../audit/index.ts";
import { SidekeyError } from "../../core/errors.ts";
import { AUDIT_FILE_OPTION, findAudit } from "../audit/logs.ts";
import { readingAudit } from "../audit/reading.ts";
import { type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";

export const auditVerify: CommandSpec = {
  name: "audit verify",
  summary: "check that no audit record was changed, removed or added, and name the first bad one",
  parameters: [{ syntax: "[file]", summary: "what GET /v1/audit/export gave, in place of the logs" }],
  options: [AUDIT_FILE_OPTION, JSON_OPTION],
  examples: [
    "sidekey audit verify         # 0: every log is whole; 1: one is not, or cannot be read; 2: wrong usage",
    "sidekey audit verify --json",
    "sidekey audit verify exported.ndjson -c vault.yaml",
  ],
  async run(invocation) {
    const { parameters, options, terminal, directory } = invocation;
    const places = await findAudit(invocation);
    const { filesOfLog, loadAuditKey, verifyAudit, verifyLog } = await import("../../audit/index.ts");
    const tellOf = (path: string) => (records: number) => terminal.progress(`${path}: ${records} records so far`);
    const verdicts: Described[] = [];
    const [exported] = parameters;
    if (exported !== undefined) {
      const key = readKey(() => loadAuditKey(places.exportKeyPath));
      const files = [resolve(directory, exported)];
      const verify = () => verifyAudit({ files, key, excerpt: true, onProgress: tellOf(exported) });
      verdicts.push({ path: exported, isExcerpt: true, ...(await readingAudit(verify)) });
    }
    const logs = exported === undefined ? places.logs() : [];
    for (const log of logs) {
      const { path, headPath } = log;
      // A device in place of a log keeps nothing that could be verified.
      if (!filesOfLog(path).every(isFile) || (filesOfLog(path).length === 0 && !isFile(headPath))) continue;
      const key = readKey(() => loadAuditKey(places.keyPath(log)));
      verdicts.push({ path, isExcerpt: false, ...(await readingAudit(() => verifyLog(log, key, tellOf(path)))) });
    }
    terminal.progress(undefined);
    const ok = verdicts.every((verdict) => verdict.ok);
    if (options.flag("json")) terminal.printJson({ ok, logs: verdicts.map(describe) });
    else if (verdicts.length === 0) terminal.note("no audit records yet");
    else for (const verdict of verdicts) terminal.print(`${verdict.path}: ${sentence(verdict)}`);
    return ok ? EXIT_OK : EXIT_FAILED;
  },
};

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

type Described = AuditVerdict & { readonly path: string; readonly isExcerpt: boolean };

const sentence = (verdict: Described): string => {
  if (!verdict.ok) return `BROKEN at record ${verdict.bad}. ${verdict.detail}`;
  const { first, last, records, anchored, tornBytes } = verdict;
  const range = first === undefined || last === undefined ? "" : ` (${first} to ${last.seq})`;
  const torn = tornBytes === 0 ? "" : `; ${tornBytes} bytes of a torn record at the end, which the next start repairs`;
  const head = anchored || records === 0 || verdict.isExcerpt ? "" : NO_HEAD;
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
  if (!verdict.ok) {
    const { isExcerpt, ...rest } = verdict;
    return rest;
  }
  const { path, ok, first, last, records, anchored, tornBytes } = verdict;
  return { path, ok, records, first, last: last?.seq, anchored, torn_bytes: tornBytes };
};
