/** Figures as a table for a terminal. */

/** Columns under their headings, the first to the left, the others to the right. */
export const alignedTable = (headings: readonly string[], rows: readonly (readonly string[])[]): readonly string[] => {
  const table = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  return table.map((row) => {
    const padded = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    return `  ${padded.join("  ")}`;
  });
};
