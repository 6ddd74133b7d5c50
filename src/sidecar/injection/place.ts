/** A place of a request that carries a credential: what a kind writes to, what `explain` names, what two can't both have. */
import { foldHeaderName } from "../../core/headers.ts";
import { foldParameterName } from "./parameter-name.ts";

export type Place =
  | {
      readonly in: "header" | "query" | "cookie";
      /** As the file has it. */
      readonly name: string;
    }
  | {
      /** `basic`: inside the base64 of an Authorization header. */
      readonly in: "path" | "basic";
    };

/** Some server takes places with the same key for one. */
const placeKey = (place: Place): string => {
  if (!("name" in place)) return place.in;
  return `${place.in}:${place.in === "header" ? foldHeaderName(place.name) : foldParameterName(place.name)}`;
};

/** Two injections can't both write there: one of them would undo the other. */
export const isSamePlace = (one: Place, other: Place): boolean =>
  placeKey(one) === placeKey(other) || isInside(one, other) || isInside(other, one);

/** Cookies are parts of one header, and so is what Basic encodes. */
const isInside = (one: Place, other: Place): boolean =>
  (one.in === "cookie" && placeKey(other) === "header:cookie") ||
  (one.in === "basic" && placeKey(other) === "header:authorization");

/** As `explain` says it. Servers ignore the case of a header's name, and heed that of other names. */
export const placeText = (place: Place): string =>
  place.in === "query" || place.in === "cookie" ? `${place.in}:${place.name}` : placeKey(place);

/** What the agent has in such a place is removed; its path is not. */
export const isRemovable = (place: Place): boolean => place.in !== "path";
