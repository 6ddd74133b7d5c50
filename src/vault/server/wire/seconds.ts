/** Times as clients write them: `3600`, `"3600"` and `"1h"` are the same. Pure. */
import { SidekeyError } from "../../../core/errors.ts";
import { parseDuration } from "../../../core/units.ts";

/** Errors: VAULT_SERVER_BAD_REQUEST. */
export const secondsOf = (given: number | string): number => {
  if (typeof given === "number") return given;
  const ms = /^[0-9]+$/.test(given) ? Number(given) * 1000 : parseDuration(given);
  if (ms === undefined) throw new SidekeyError("VAULT_SERVER_BAD_REQUEST");
  return ms / 1000;
};
