/**
 * Columns for people; programs ask for JSON. Names and reasons are others' words, from a server too: no control in them
 * may steer a terminal, end a line or turn the direction of writing.
 */

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => {
  const lines = [head, ...rows].map((line) => line.map(plain));
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
};

const plain = (cell: string): string =>
  cell.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (found) => `\\u${found.codePointAt(0)?.toString(16).padStart(4, "0")}`);
