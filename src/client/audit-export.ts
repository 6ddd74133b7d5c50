/**
 * The vault's audit, line by line as it is stored, oldest first: for keeping elsewhere, and for `sidekey audit verify`.
 * Asked for in parts, each of which can be asked for again; must never leave a line out without an error.
 */
import * as z from "zod";
import { type AuditFilter, filterQuery } from "./audit.ts";
import type { Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { BadAnswerError } from "./errors.ts";

export interface AuditExportRequest extends AuditFilter {
  /** Only what is behind this number of the log. Default 0. */
  readonly after?: number;
  readonly signal?: AbortSignal;
}

/** Lines of one part; a part has to fit into an answer. */
const PART = 1_000;
const lineSchema = z.looseObject({ seq: z.int().min(1) });

/** Without their line ends. Errors: all of errors.ts; CLIENT_BAD_ANSWER for lines out of order. */
export async function* exportLines(
  calls: Calls,
  credentials: Pick<Credentials, "own">,
  { after = 0, signal, ...filter }: AuditExportRequest,
): AsyncGenerator<string, void, undefined> {
  for (let last = after; ; ) {
    const query = { ...filterQuery(filter), after: last, limit: PART };
    const call = {
      method: "GET",
      path: "/v1/audit/export",
      query,
      credential: credentials.own(),
      repeatable: true,
    } as const;
    const text = await calls.text({ ...call, signal }, "application/x-ndjson");
    const lines = text.split("\n");
    // What follows the end of the last line. One that was cut off must not pass for one.
    if (lines.pop() !== "") throw new BadAnswerError({ detail: "The last line of the vault's audit has no end." });
    for (const line of lines) {
      const seq = numberOf(line);
      if (seq === undefined || seq <= last) {
        throw new BadAnswerError({ detail: `What follows record ${last} of the vault's audit is not what should.` });
      }
      last = seq;
      yield line;
    }
    if (lines.length < PART) return;
  }
}

const numberOf = (line: string): number | undefined => {
  try {
    return lineSchema.safeParse(JSON.parse(line)).data?.seq;
  } catch {
    return undefined;
  }
};
