/** How a `.env` file is refused: by the numbers of its lines. Apart from its reader, which only few commands need. */
import { SidekeyError } from "../core/errors.ts";

const MAX_TOLD = 20;

/** Nothing is taken from a file with these faults; none holds any part of a line. */
export const badImport = (faults: readonly string[], hint?: string): SidekeyError => {
  const told = faults.slice(0, MAX_TOLD).map((fault) => `\n  ${fault}`);
  const more = faults.length > MAX_TOLD ? `\n  and ${faults.length - MAX_TOLD} more` : "";
  const detail = told.join("") + more;
  return new SidekeyError("VAULT_BAD_IMPORT", hint === undefined ? { detail } : { detail, hint });
};
