/** The query of an outgoing request: the agent's own copies of a parameter out, ours in, every other byte as it came. */
import { isReadAs } from "./parameter-name.ts";

/**
 * `query` with its `?`, or empty. `folded`: from `foldParameterName`. `parameter`: encoded `name=value`, put at the end.
 * Some servers split at `;` too, so what stands between those counts as a parameter of its own.
 */
export const setParameter = (query: string, folded: string, parameter: string): string => {
  const kept = withoutParameter(query, folded);
  return kept.length > 1 ? `${kept}&${parameter}` : `?${parameter}`;
};

const withoutParameter = (query: string, folded: string): string => {
  // Pieces at even places, what separates them at odd ones.
  const parts = query.slice(1).split(/([&;])/);
  let kept: string | undefined;
  let isWhole = true;
  for (let i = 0; i < parts.length; i += 2) {
    const piece = parts[i] as string;
    const [name = ""] = piece.split("=", 1);
    if (isReadAs(name, folded)) isWhole = false;
    else kept = kept === undefined ? piece : `${kept}${parts[i - 1]}${piece}`;
  }
  return isWhole ? query : `?${kept ?? ""}`;
};
