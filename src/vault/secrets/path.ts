/** The grammar of secret paths in a vault. */
import { SidekeyError } from "../../core/errors.ts";

const SEGMENT = /^[A-Za-z0-9._-]{1,128}$/;

/** In characters: a path is part of a row's key, and LMDB's keys are short. */
export const MAX_PATH_LENGTH = 1024;

/** `[A-Za-z0-9._-]{1,128}`, and neither `.` nor `..`. */
export const isPathSegment = (segment: string): boolean => SEGMENT.test(segment) && segment !== "." && segment !== "..";

/** Two or more segments of `[A-Za-z0-9._-]{1,128}`, none `.` or `..`. */
export const isSecretPath = (path: string): boolean => {
  if (path.length > MAX_PATH_LENGTH) return false;
  const segments = path.split("/");
  return segments.length >= 2 && segments.every(isPathSegment);
};

/** Errors: VAULT_BAD_PATH. */
export const checkSecretPath = (path: string): void => {
  if (!isSecretPath(path)) {
    throw new SidekeyError("VAULT_BAD_PATH", { detail: `${JSON.stringify(path.slice(0, 120))} is none.` });
  }
};

/**
 * The paths above: no secret may be at one of them, since a path is either a secret or what holds some. Paths of one
 * segment are none of a secret.
 */
export const pathsAbove = (path: string): readonly string[] => {
  const segments = path.split("/");
  return segments.slice(2).map((_, at) => segments.slice(0, at + 2).join("/"));
};
