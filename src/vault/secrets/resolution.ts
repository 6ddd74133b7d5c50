/**
 * Secrets by name: an organization holds teams, a team workspaces, each a place in the paths. The narrowest place that
 * has the name decides, and nothing but its being there: whether it can be read is asked afterwards, so that a wider
 * secret never stands in for one that is forbidden, expired, damaged or kept elsewhere.
 */
import { SidekeyError } from "../../core/errors.ts";
import { isPathSegment } from "./path.ts";

const MAX_PLACES = 3;

/** `organization[/team[/workspace]]` */
export const isPlace = (place: string): boolean => {
  const segments = place.split("/");
  return segments.length <= MAX_PLACES && segments.every(isPathSegment);
};

/**
 * Where `name` may be, the narrowest first. One segment: a longer name could lead from a team into another one.
 * Errors: VAULT_BAD_PATH.
 */
export const candidatePaths = (name: string, place: string): readonly string[] => {
  if (!isPlace(place)) throw badPath(place, "is no place: organization, or organization/team, or with a workspace");
  if (!isPathSegment(name)) throw badPath(name, "is no name of a secret: it is one segment of a path");
  const segments = place.split("/");
  return segments.map((_, at) => [...segments.slice(0, segments.length - at), name].join("/"));
};

const badPath = (text: string, why: string): SidekeyError =>
  new SidekeyError("VAULT_BAD_PATH", { detail: `${JSON.stringify(text.slice(0, 120))} ${why}.` });
