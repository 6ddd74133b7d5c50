/**
 * Which records are wanted, told from their lines as they are stored, without parsing them: a log may have millions. A
 * quote within a text is stored behind a backslash, so that `"event":"secret.read"` stands in a line only where the
 * record has that member. Must never find less than a parser would.
 */

import { createQuoteMemo, TEXT_CAPS } from "../record.ts";
import { timeOf } from "./log-reader.ts";

export interface RecordFilter {
  /** ISO 8601 in UTC with milliseconds, as records have it. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** These: the whole text, or its beginning and `*`. */
  readonly event?: string | undefined;
  readonly agent?: string | undefined;
  readonly actor?: string | undefined;
  readonly secret?: string | undefined;
}

export interface RecordTest {
  /** No record is left out. */
  readonly all: boolean;
  /** The same filter has the same name. */
  readonly name: string;
  /** False where a piece of a log (whole lines) holds no wanted record for sure; much quicker than line by line. */
  mayHold(lines: string): boolean;
  /** False also where the line is no record. */
  matches(line: string): boolean;
}

const CAPS = { event: TEXT_CAPS.name, agent: TEXT_CAPS.name, actor: TEXT_CAPS.name, secret: TEXT_CAPS.secret } as const;

export const createRecordTest = (filter: RecordFilter): RecordTest => {
  const { since, until } = filter;
  const quote = createQuoteMemo();
  const needles = (Object.keys(CAPS) as (keyof typeof CAPS)[]).flatMap((name) => {
    const text = filter[name];
    if (text === undefined) return [];
    const isPrefix = text.endsWith("*");
    const quoted = quote(isPrefix ? text.slice(0, -1) : text, CAPS[name]);
    return [`"${name}":${isPrefix ? quoted.slice(0, -1) : quoted}`];
  });
  const timed = since !== undefined || until !== undefined;
  return {
    all: needles.length === 0 && !timed,
    name: JSON.stringify([since, until, ...needles]),
    mayHold: (lines) => needles.every((needle) => lines.includes(needle)),
    matches(line) {
      if (!isRecordLine(line)) return false;
      for (const needle of needles) if (!line.includes(needle)) return false;
      if (!timed) return true;
      const time = timeOf(line);
      return (since === undefined || time >= since) && (until === undefined || time < until);
    },
  };
};

/** By its ends; not the end of one that is being written. */
export const isRecordLine = (line: string): boolean => line.startsWith('{"seq":') && line.endsWith('"}');

/** Sequence number of a line in the form of a record; undefined where it is none. */
export const seqOf = (line: string): number | undefined => {
  const [, seq] = /^\{"seq":([1-9][0-9]{0,15}),/.exec(line) ?? [];
  return seq === undefined ? undefined : Number(seq);
};
