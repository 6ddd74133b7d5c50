/** The grammar of secret paths in a vault. */
import { SidekeyError } from "../core/errors.ts";

const SEGMENT = /^[A-Za-z0-9._-]{1,128}$/;

/** In characters: a path is part of a row's key, and LMDB's keys are short. */
export const MAX_PATH_LENGTH = 1024;

/** Two or more segments of `[A-Za-z0-9._-]{1,128}`, none `.` or `..`. */
export const isSecretPath = (path: string): boolean => {
  if (path.length > MAX_PATH_LENGTH) return false;
  const segments = path.split("/");
  return (
    segments.length >= 2 && segments.every((segment) => SEGMENT.test(segment) && segment !== "." && segment !== "..")
  );
};

/** Errors: VAULT_BAD_PATH. */
export const checkSecretPath = (path: string): void => {
  if (!isSecretPath(path)) {
    throw new SidekeyError("VAULT_BAD_PATH", { detail: `${JSON.stringify(path.slice(0, 120))} is none.` });
  }
};
