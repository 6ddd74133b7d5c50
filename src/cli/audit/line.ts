/** One audit record for a person: what, to where, how it ended. Programs read the record itself. */

/** In the order shown; absent ones are left out. */
const WORDS = [
  "event",
  "decision",
  "method",
  "target",
  "route",
  "secret",
  "actor",
  "ip",
  "agent_name",
  "code",
  "status",
  "outcome",
  "count",
  "reason",
  "request_id",
] as const;

/** A line that is no record is shown as it is: `audit verify` judges it. */
export const formatRecord = (line: string): string => {
  const record = parseRecord(line);
  if (record === undefined) return printable(line);
  const word = (name: string): string => {
    const value = record[name];
    if (name === "count") return typeof value === "number" ? `count=${value}` : "";
    return typeof value === "string" || typeof value === "number" ? String(value) : "";
  };
  const target = word("authority") + word("path");
  const told = WORDS.map((name) => (name === "target" ? target : word(name))).filter((text) => text !== "");
  return printable([word("time"), word("agent"), word("type").padEnd(7), ...told].join("  ")).trimEnd();
};

const parseRecord = (line: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
};

/**
 * Paths and reasons come from agents, and a damaged line from anywhere: nothing in them may steer a terminal, turn the
 * direction of its text, or hide in it.
 */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, (found) => {
    const point = found.codePointAt(0) ?? 0;
    return point < 256 ? `\\x${point.toString(16).padStart(2, "0")}` : `\\u{${point.toString(16)}}`;
  });
