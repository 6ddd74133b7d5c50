/** The audit of a vault server for people and programs: searched and followed over its API. */
import { setTimeout as pause } from "node:timers/promises";
import type { AgentVault, AuditEntry, AuditRequest } from "../../client/index.ts";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import type { Invocation, Options } from "../command.ts";
import { readSpan } from "./filters.ts";
import { printable } from "./line.ts";

/** Of `audit search`, that a server does not know. */
const SERVER_FILTERS = ["agent", "actor", "secret", "event"] as const;
const ONLY_HERE = ["route", "decision", "code", "status", "type", "request"] as const;
const PAGE = 500;
const DEFAULT_LIMIT = 1000;
const FOLLOW_MS = 1_000;

/** Oldest first. Errors: CONFIG_USAGE, and the client's. */
export const searchServerAudit = async (
  vault: AgentVault,
  { options, terminal }: Invocation,
  now: number,
): Promise<void> => {
  for (const name of ONLY_HERE) {
    if (options.text(name) === undefined) continue;
    throw new SidekeyError("CONFIG_USAGE", {
      detail: `--${name} is about what passes a sidecar; a vault server has none of it.`,
      hint: "With --vault: --since, --until, --agent, --actor, --secret, --event, --limit.",
    });
  }
  const limit = Number(options.text("limit") ?? DEFAULT_LIMIT);
  if (!Number.isInteger(limit) || limit < 1)
    throw new SidekeyError("CONFIG_USAGE", { detail: "--limit takes a whole number from 1." });
  const request: AuditRequest = { ...readSpan(options, now), ...given(options, SERVER_FILTERS) };
  const { entries, total } = await newest(vault, request, limit);
  for (const entry of entries) show(entry, options, terminal);
  if (entries.length === 0 && !options.flag("json")) terminal.note("no audit record matches");
  if (total > entries.length) terminal.note(`the newest ${entries.length} of ${total}; more with --limit`);
};

/** The lines as they are stored, oldest first; a number of them. Errors: CONFIG_USAGE, and the client's. */
export const exportServerAudit = async (
  vault: AgentVault,
  { options, terminal }: Invocation,
  now: number,
): Promise<number> => {
  const after = options.text("after") ?? "0";
  if (!/^\d{1,15}$/.test(after)) {
    throw new SidekeyError("CONFIG_USAGE", { detail: "--after takes the number of a record, its 'seq'." });
  }
  let count = 0;
  const request = { ...readSpan(options, now), ...given(options, SERVER_FILTERS), after: Number(after) };
  for await (const line of vault.auditLines(request)) {
    terminal.print(line);
    count += 1;
  }
  return count;
};

/** Errors: the client's. */
export const tailServerAudit = async (
  vault: AgentVault,
  { options, terminal }: Invocation,
  count: number,
): Promise<void> => {
  const { entries } = await newest(vault, {}, Math.max(count, 1));
  for (const entry of count === 0 ? [] : entries) show(entry, options, terminal);
  if (entries.length === 0 && !options.flag("json")) terminal.note("no audit records yet");
  let last = entries.at(-1);
  let isTold = false;
  while (options.flag("follow")) {
    await pause(FOLLOW_MS);
    const fresh = await behind(vault, last).catch((error: unknown) => {
      if (!isPassing(error)) throw error;
      if (!isTold) terminal.note(`${error.message} Trying again.`);
      isTold = true;
      return undefined;
    });
    if (fresh === undefined) continue;
    isTold = false;
    for (const entry of fresh) show(entry, options, terminal);
    last = fresh.at(-1) ?? last;
  }
};

/** A vault that is started again, say: who follows its audit wants to see just that. */
const isPassing = (error: unknown): error is SidekeyError =>
  isSidekeyError(error) && (error.code === "CLIENT_UNREACHABLE" || error.code === "CLIENT_UNAVAILABLE");

/** The newest `limit`, oldest of them first. */
const newest = async (
  vault: AgentVault,
  request: AuditRequest,
  limit: number,
): Promise<{ readonly entries: readonly AuditEntry[]; readonly total: number }> => {
  // What comes meanwhile pushes others onto the next page, where they are told a second time.
  const found = new Map<string, AuditEntry>();
  let all = 0;
  for (let page = 1; found.size < limit; page += 1) {
    const { events, total } = await vault.audit({ ...request, page, limit: Math.min(PAGE, limit) });
    for (const entry of events) found.set(entry.id, entry);
    all = total ?? found.size;
    if (events.length === 0 || found.size >= all) break;
  }
  return { entries: [...found.values()].slice(0, limit).reverse(), total: all };
};

/** Those that came after `last`, oldest first. */
const behind = async (vault: AgentVault, last: AuditEntry | undefined): Promise<readonly AuditEntry[]> => {
  const found: AuditEntry[] = [];
  for (let page = 1; ; page += 1) {
    const { events, total } = await vault.audit({ page, limit: 100 });
    const end = last === undefined ? -1 : events.findIndex(({ id }) => Number(id) <= Number(last.id));
    found.push(...(end === -1 ? events : events.slice(0, end)));
    if (end !== -1 || events.length === 0 || found.length >= (total ?? 0)) break;
  }
  // What came between two pages pushes others onto the next.
  return [...new Map(found.map((entry) => [entry.id, entry])).values()].reverse();
};

const show = (entry: AuditEntry, options: Options, { print, printJson }: Invocation["terminal"]): void => {
  if (options.flag("json")) {
    printJson(describe(entry));
    return;
  }
  const { metadata, ip = "-", actorType = "-", actorId = "-", resourceId = "-" } = entry;
  const more = Object.entries(metadata).map(
    ([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const words = [new Date(entry.at).toISOString(), entry.event, `${actorType}:${actorId}`, resourceId, ip, ...more];
  print(printable(words.join("  ")));
};

const describe = (entry: AuditEntry): object => ({
  id: entry.id,
  event_type: entry.event,
  actor_id: entry.actorId,
  actor_type: entry.actorType,
  resource_type: entry.resourceType,
  resource_id: entry.resourceId,
  metadata: entry.metadata,
  ip_address: entry.ip,
  created_at: new Date(entry.at).toISOString(),
});

const given = <Name extends string>(options: Options, names: readonly Name[]): { [K in Name]?: string } => {
  const found: { [K in Name]?: string } = {};
  for (const name of names) {
    const text = options.text(name);
    if (text !== undefined) found[name] = text;
  }
  return found;
};
