/** Keeps an agent from reaching, by accident, for what `run` keeps from it. It stops accidents, not attackers. */
import { SidekeyError } from "../core/errors.ts";
import type { Invocation } from "./command.ts";

const RUN_VARIABLE = "SIDEKEY_RUN";

/** Errors: CONFIG_USAGE inside a `run`. */
export const refuseInsideRun = (command: string, { environment }: Pick<Invocation, "environment">): void => {
  if ((environment[RUN_VARIABLE] ?? "") === "") return;
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `'sidekey ${command}' does not work inside 'sidekey run': what runs there holds no keys.`,
    hint: "Use another terminal.",
  });
};
