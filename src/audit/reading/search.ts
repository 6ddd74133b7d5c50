/**
 * Finds records in logs of any size. What a request sent out and how it ended are two records, an intent and an
 * outcome, each with a part of the facts: they are judged as one, and shown both. Memory holds the requests that are
 * open at a time, never a log.
 */
import { type MergedLine, mergeLogs } from "./merge.ts";

/** Facts of one record that can be asked for. */
export type SearchField = "event" | "actor" | "agent" | "route" | "secret" | "decision" | "code" | "status";

export type TextTest = (text: string) => boolean;

export interface SearchFilter {
  /** ISO 8601 in UTC with milliseconds, as records have it: of each record's own time. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly type?: string | undefined;
  readonly requestId?: string | undefined;
  /** Each must hold for a record, or for an intent and its outcome together. */
  readonly fields?: Readonly<Partial<Record<SearchField, TextTest>>> | undefined;
}

export interface SearchOptions {
  /** Paths of the logs. */
  readonly logs: readonly string[];
  readonly filter: SearchFilter;
  /** Told of each line that is no record; the search goes on. */
  readonly onBadLine: (line: Pick<MergedLine, "file" | "number">) => void;
  /** Characters of lines that may wait for one that is undecided before it loses its place in the order. */
  readonly holdLimit?: number;
}

type Json = Readonly<Record<string, unknown>>;

interface Request {
  verdict: "yes" | "no" | "open";
  /** Its lines that lost their place in the row. */
  late: string[];
}

interface Held {
  readonly line: string;
  /** Undefined: it matches. */
  readonly request: Request | undefined;
}

/** Facts that an intent has and its outcome may lack, and those that only an outcome has. */
const OF_INTENT: readonly SearchField[] = ["event", "actor", "agent", "route", "secret", "decision"];
const OF_OUTCOME: readonly SearchField[] = ["code", "status"];

const HOLD_LIMIT = 16 * 1024 * 1024;

/** Matching records as they are stored, in the order of their times. */
export function* searchAudit({ logs, filter, onBadLine, holdLimit = HOLD_LIMIT }: SearchOptions): Generator<string> {
  const { since, until, type, requestId, fields = {} } = filter;
  const id = requestId === undefined ? undefined : `"request_id":${JSON.stringify(requestId)}`;
  const decidedLate = OF_OUTCOME.some((name) => fields[name] !== undefined);
  /** Requests without an outcome so far, by log. */
  const requests = new Map<string, Map<string, Request>>();
  const row = createRow(holdLimit);
  const badLines = createBadLines(onBadLine);

  const holds = (record: Json, names: readonly SearchField[]): boolean =>
    names.every((name) => fields[name]?.(wordOf(record, name)) !== false);
  const isShown = (record: Json, time: string): boolean =>
    (type === undefined || record["type"] === type) &&
    (since === undefined || time >= since) &&
    (until === undefined || time < until);

  const judge = (record: Json, line: MergedLine): Request | undefined => {
    const open = requests.get(line.log) ?? new Map<string, Request>();
    requests.set(line.log, open);
    const key = wordOf(record, "request_id");
    const kind = record["type"];
    if (kind === "intent" && key !== "") {
      const verdict = !holds(record, OF_INTENT) ? "no" : decidedLate ? "open" : "yes";
      const request = open.get(key) ?? { verdict, late: [] };
      open.set(key, request);
      return request;
    }
    const request = kind === "outcome" ? open.get(key) : undefined;
    if (request !== undefined) {
      open.delete(key);
      if (request.verdict === "open") request.verdict = holds(record, OF_OUTCOME) ? "yes" : "no";
      return request;
    }
    // What a process left open when it was killed has no outcome to come.
    if (kind === "start") closeAll(open);
    return { verdict: holds(record, [...OF_INTENT, ...OF_OUTCOME]) ? "yes" : "no", late: [] };
  };

  for (const line of mergeLogs(logs, since)) {
    const { text, time } = line;
    if (!hasRecordForm(text)) {
      badLines.seen(line);
      continue;
    }
    if (id !== undefined && !text.includes(id)) {
      badLines.before(text, line.log);
      continue;
    }
    const record = parseRecord(text);
    if (record === undefined) {
      badLines.seen(line);
      continue;
    }
    badLines.before(text, line.log);
    const request = judge(record, line);
    if (request === undefined || request.verdict === "no") {
      yield* row.settled();
      continue;
    }
    for (const late of request.late.splice(0)) row.add({ line: late, request: undefined });
    if (isShown(record, time)) row.add({ line: text, request: request.verdict === "open" ? request : undefined });
    yield* row.settled();
  }
  for (const open of requests.values()) closeAll(open);
  badLines.finish();
  yield* row.settled();
}

const closeAll = (open: Map<string, Request>): void => {
  for (const request of open.values()) if (request.verdict === "open") request.verdict = "no";
  open.clear();
};

/** Lines in order, up to the first that is undecided. */
const createRow = (limit: number) => {
  let held: Held[] = [];
  let first = 0;
  let size = 0;
  return {
    add({ line, request }: Held): void {
      // A slice would keep the whole piece of the file alive that it was cut from.
      held.push({ line: first === held.length && request === undefined ? line : copyOf(line), request });
      size += line.length;
    },
    *settled(): Generator<string> {
      for (let next = held[first]; next !== undefined; next = held[first]) {
        const { line, request } = next;
        if (request?.verdict === "open") {
          if (size <= limit) return;
          request.late.push(line);
        } else if (request?.verdict !== "no") yield line;
        size -= line.length;
        first += 1;
        if (first > 1000 || first === held.length) {
          held = held.slice(first);
          first = 0;
        }
      }
    },
  };
};

const copyOf = (line: string): string => Buffer.from(line, "latin1").toString("latin1");

/** Bad lines are told once it is clear that no repair record follows, which answers for the piece a crash left. */
const createBadLines = (tell: SearchOptions["onBadLine"]) => {
  const waiting = new Map<string, MergedLine[]>();
  const flush = (log: string): void => {
    for (const line of waiting.get(log) ?? []) tell(line);
    waiting.delete(log);
  };
  return {
    seen(line: MergedLine): void {
      const lines = waiting.get(line.log) ?? [];
      waiting.set(line.log, lines);
      lines.push({ ...line, text: "" });
      if (lines.length > 8) flush(line.log);
    },
    before(record: string, log: string): void {
      if (!waiting.has(log)) return;
      if (record.includes('"type":"admin","reason":"repaired torn line of ')) waiting.delete(log);
      else flush(log);
    },
    finish(): void {
      for (const [log, lines] of waiting) {
        // The last line of a log may be half of one that is being written.
        if (lines.at(-1)?.ended === false) lines.pop();
        flush(log);
      }
    },
  };
};

const hasRecordForm = (text: string): boolean => text.startsWith('{"seq":') && text.endsWith('"}');

const parseRecord = (text: string): Json | undefined => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    // Not JSON is what `undefined` says.
    return undefined;
  }
};

const wordOf = (record: Json, name: string): string => {
  const value = record[name];
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
};
