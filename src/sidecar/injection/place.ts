/** A place of a request that carries a credential: what a kind writes to, what `explain` names, what two can't both have. */
import { foldHeaderName } from "../../core/headers.ts";
import { foldParameterName } from "./parameter-name.ts";

export interface Place {
  readonly in: "header" | "query";
  /** As the file has it. */
  readonly name: string;
}

/** Some server takes places with the same key for one. */
export const placeKey = ({ in: part, name }: Place): string =>
  `${part}:${part === "header" ? foldHeaderName(name) : foldParameterName(name)}`;

/** Two injections can't both write there. */
export const isSamePlace = (one: Place, other: Place): boolean => placeKey(one) === placeKey(other);

/** As `explain` says it. Servers ignore the case of a header's name, and heed that of other names. */
export const placeText = (place: Place): string =>
  place.in === "header" ? placeKey(place) : `${place.in}:${place.name}`;
