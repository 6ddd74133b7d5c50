/** What happened, for operators: a page of the audit, and its very lines for keeping elsewhere. */
import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as z from "zod";
import { createAuditPages, exportAudit } from "../../../audit/index.ts";
import { SidekeyError } from "../../../core/errors.ts";
import { parseDuration } from "../../../core/units.ts";
import { viewOf } from "../../audit-view.ts";
import { type Call, defineCall } from "../call.ts";
import type { ApiContext } from "../context.ts";
import { page, timestamp } from "../wire/types.ts";

/** A search may go through gigabytes, and everybody else is served beside it. */
const READERS = 2;
const MAX_WAITING = 16;
/** A client that takes nothing for so long is gone. `ms` */
const IDLE_MS = 60_000;
const MAX_EXPORTED = 1_000_000;
const LAST_INSTANT = Date.UTC(9999, 11, 31);

const text = z.string().min(1).max(1024);
const instant = z
  .string()
  .max(40)
  .describe("ISO 8601 with its offset, or how long ago: 15m, 2d.")
  .refine((given) => parseDuration(given) !== undefined || z.iso.datetime({ offset: true }).safeParse(given).success);

const filter = {
  since: instant.optional(),
  until: instant.optional(),
  agent: text.optional().describe("Name of the agent, or its beginning and '*'."),
  actor: text.optional().describe("Id of who did it, or its beginning and '*'."),
  secret: text.optional().describe("Path, or its beginning and '*'."),
  event: text.optional().describe("secret.read, or secret.* for all of a kind."),
};

const eventSchema = z
  .object({
    id: z.string().describe("Sequence number in this server's log."),
    event_type: z.string(),
    actor_id: z.string().nullable(),
    actor_type: z.enum(["human", "agent", "token", "system", "anonymous"]),
    resource_type: z.string().nullable(),
    resource_id: z.string().nullable(),
    metadata: z.record(z.string(), z.unknown()),
    ip_address: z.string().nullable(),
    created_at: timestamp,
  })
  .describe("One thing that happened.");

export const auditCalls = ({ config, clock, log }: ApiContext): readonly Call[] => {
  const { path } = config.audit;
  const pages = createAuditPages(path);
  const turns = createTurns(READERS, MAX_WAITING);

  const timeOf = (given: string | undefined): string | undefined => {
    if (given === undefined) return undefined;
    const ago = parseDuration(given);
    const at = ago === undefined ? Date.parse(given) : clock.now() - ago;
    // Within the years whose text order is their order.
    return new Date(Math.min(Math.max(at, 0), LAST_INSTANT)).toISOString();
  };

  const reading = <T>(read: () => Promise<T>): Promise<T> =>
    read().catch((error: unknown) => {
      if (error instanceof SidekeyError || !(error instanceof Error) || !("syscall" in error)) throw error;
      log.error("the audit log cannot be read", { path, cause: errnoOf(error) });
      throw new SidekeyError("AUDIT_UNAVAILABLE", { detail: `${path} cannot be read.`, cause: error });
    });

  return [
    defineCall({
      method: "GET",
      path: "/v1/audit",
      operationId: "listAudit",
      tag: "audit",
      summary: "What happened, newest first",
      description: "Of this server's log, as far back as it is kept; `total` counts what is there.",
      who: ["operator"],
      query: z.object({ ...page, ...filter }),
      answers: {
        200: {
          description: "One page.",
          schema: z.object({
            events: z.array(eventSchema),
            total: z.number().int(),
            page: z.number().int(),
            limit: z.number().int(),
          }),
        },
      },
      errors: ["SCOPE_DENIED"],
      async handle({ query: { page: number, limit, since, until, ...texts } }) {
        const wanted = { ...texts, since: timeOf(since), until: timeOf(until) };
        const { lines, total } = await turns.take(() =>
          reading(() => pages.read({ page: number, limit, filter: wanted })),
        );
        const events = lines.flatMap((line) => viewOf(line) ?? []);
        return { status: 200, body: { events, total, page: number, limit } };
      },
    }),
    defineCall({
      method: "GET",
      path: "/v1/audit/export",
      operationId: "exportAudit",
      tag: "audit",
      summary: "The audit's lines as they are stored, oldest first",
      description:
        "One JSON document a line. Without a filter the chain is whole: save it, then 'sidekey audit verify FILE'.",
      who: ["operator"],
      query: z.object({
        ...filter,
        after: z.coerce.number().int().min(0).default(0).describe("Only what is behind this number: to go on."),
        limit: z.coerce.number().int().min(1).max(MAX_EXPORTED).default(MAX_EXPORTED).describe("Most lines."),
      }),
      answers: { 200: { description: "The lines.", contentType: "application/x-ndjson" } },
      errors: ["SCOPE_DENIED"],
      async handle({ query: { after, limit, since, until, ...texts } }) {
        const wanted = { ...texts, since: timeOf(since), until: timeOf(until) };
        const done = await turns.begin();
        const pieces = exportAudit(path, { filter: wanted, after, limit });
        // Up to the first piece an error still has an answer.
        const first = await reading(() => pieces.next()).catch((error: unknown) => {
          done();
          throw error;
        });
        const stream = (response: ServerResponse): void => {
          response.setTimeout(IDLE_MS, () => response.destroy());
          pipeline(Readable.from(following(first, pieces)), response)
            .catch((error: unknown) => log.info("an export of the audit was cut", { cause: errnoOf(error) }))
            .finally(done);
        };
        return { status: 200, headers: { "content-type": "application/x-ndjson" }, stream };
      },
    }),
  ];
};

async function* following(
  first: IteratorResult<string, void>,
  rest: AsyncGenerator<string, void>,
): AsyncGenerator<string, void> {
  if (first.done === true) return;
  yield first.value;
  yield* rest;
}

const errnoOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";

/** So many at a time; those past `waiting` are turned away. */
const createTurns = (atATime: number, waiting: number) => {
  const queue: (() => void)[] = [];
  let busy = 0;
  const end = (): void => {
    const next = queue.shift();
    if (next === undefined) busy -= 1;
    else next();
  };
  /** Resolves with what ends the turn. Errors: OVERLOADED. */
  const begin = async (): Promise<() => void> => {
    if (busy >= atATime) {
      if (queue.length >= waiting) throw new SidekeyError("OVERLOADED");
      await new Promise<void>((resolve) => queue.push(resolve));
    } else busy += 1;
    return end;
  };
  return {
    begin,
    async take<T>(work: () => Promise<T>): Promise<T> {
      const done = await begin();
      try {
        return await work();
      } finally {
        done();
      }
    },
  };
};
