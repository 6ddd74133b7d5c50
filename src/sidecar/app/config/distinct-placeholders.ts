/** That each placeholder of the file stands for one secret: none is another one, or part of it. */
import type { Finding, KeyPath } from "../../../config/problem.ts";

export interface PlacedPlaceholder {
  readonly text: string;
  readonly path: KeyPath;
}

/** Said at both. */
export const reportSharedPlaceholders = (
  placeholders: readonly PlacedPlaceholder[],
  report: (finding: Finding) => void,
): void => {
  for (const one of placeholders) {
    for (const other of placeholders) {
      if (one === other || !(other.text.includes(one.text) || one.text.includes(other.text))) continue;
      report({
        path: one.path,
        message: `has the same placeholder as ${other.path.slice(0, 2).join(".")}, or one inside the other`,
        hint: "Each must be found by itself: write another 'placeholder', or leave it out.",
      });
    }
  }
};
