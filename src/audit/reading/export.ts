/**
 * The lines of a log as they are stored, oldest first, in pieces: for handing on. Each file is opened before the first
 * piece goes out, so that rotation takes none away meanwhile.
 */
import { closeSync } from "node:fs";
import { isOlderFile, openLogFiles } from "./log-reader.ts";
import { firstRecord, offsetAfter, piecesForwards } from "./pieces.ts";
import { createRecordTest, type RecordFilter } from "./record-filter.ts";

export interface ExportRequest {
  readonly filter: RecordFilter;
  /** Sequence number: only records behind it. */
  readonly after?: number | undefined;
  /** Most records. */
  readonly limit: number;
}

/** Pieces of whole lines, each with its newline. System errors of the files as they are. */
export async function* exportAudit(
  path: string,
  { filter, after = 0, limit }: ExportRequest,
): AsyncGenerator<string, void> {
  const test = createRecordTest(filter);
  const files = openLogFiles(path);
  let left = limit;
  try {
    const begins: (number | undefined)[] = [];
    for (const file of files) begins.push((await firstRecord(file))?.seq);
    for (const [i, file] of files.entries()) {
      const next = begins.slice(i + 1).find((seq) => seq !== undefined);
      if (next !== undefined && next <= after + 1) continue;
      if (filter.since !== undefined && i < files.length - 1 && isOlderFile(file, filter.since)) continue;
      for await (const piece of piecesForwards(file, await offsetAfter(file, after))) {
        const lines = wanted(piece, test.matches, left);
        left -= lines.length;
        if (lines.length > 0) yield `${lines.join("\n")}\n`;
        if (left === 0) return;
      }
    }
  } finally {
    for (const { fd } of files) closeSync(fd);
  }
}

const wanted = (piece: string, matches: (line: string) => boolean, limit: number): string[] => {
  const lines: string[] = [];
  for (let from = 0; from < piece.length && lines.length < limit; ) {
    const end = piece.indexOf("\n", from);
    const line = piece.slice(from, end);
    if (matches(line)) lines.push(line);
    from = end + 1;
  }
  return lines;
};
