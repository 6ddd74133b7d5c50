/** What the commands that read the audit share: what the system says about its files, as an error a person can act on. */
import { SidekeyError } from "../../core/errors.ts";

/** Errors: AUDIT_UNREADABLE where the system refuses a file; others as they are. */
export const readingAudit = async <T>(read: () => T | Promise<T>): Promise<T> => {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof Error) || error instanceof SidekeyError || !("syscall" in error)) throw error;
    const { path, code } = error as NodeJS.ErrnoException;
    throw new SidekeyError("AUDIT_UNREADABLE", { detail: `${path ?? "a file"}: ${code}.`, cause: error });
  }
};
