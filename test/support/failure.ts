/** What a call that may fail comes to. */
import { type ErrorCode, isSidekeyError } from "../../src/core/errors.ts";

/** The code, or undefined when it went well. Any other error is thrown on. */
export const failure = async (run: () => Promise<unknown>): Promise<ErrorCode | undefined> => {
  try {
    await run();
    return undefined;
  } catch (error) {
    if (isSidekeyError(error)) return error.code;
    throw error;
  }
};
