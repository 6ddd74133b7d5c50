/** How files of the CA are read and written, and what is said when they cannot be. It knows nothing of what is in them. */

import { SidekeyError } from "../../core/errors.ts";
import * as whole from "../../core/whole-file.ts";
import { FileFault, readWholeFile, systemCode } from "../../core/whole-file.ts";

export const CERTIFICATE_MODE = 0o644;
export const KEY_MODE = whole.PRIVATE_MODE;
/** Ours are a few KiB, and more with name constraints for many hosts; anything larger is not ours. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Puts a whole file at `path` in one step; false when something is already there, which stays as it is. */
export const publishFile = (path: string, text: string, mode: number): Promise<boolean> =>
  whole.publishFile(path, text, mode).catch(cannotWrite(path));

/** Puts a whole file at `path` in one step, in the place of what is there. */
export const replaceFile = (path: string, text: string, mode: number): Promise<void> =>
  whole.replaceFile(path, text, mode).catch(cannotWrite(path));

const cannotWrite =
  (path: string) =>
  (error: unknown): never => {
    throw unusable(`${path} cannot be written (${systemCode(error)}).`, error);
  };

/** Undefined only when nothing is there. */
export const readCertificateFile = (path: string): Promise<string | undefined> => read(path, false);

/** As above, and refused when others may use it. */
export const readKeyFile = (path: string): Promise<string | undefined> => read(path, true);

const read = (path: string, isPrivate: boolean): Promise<string | undefined> =>
  readWholeFile(path, { maxBytes: MAX_FILE_BYTES, isPrivate }).catch((error: unknown) => {
    if (!(error instanceof FileFault)) throw error;
    throw unusable(
      `${error.message}.`,
      error,
      error.isOpenToOthers
        ? `Treat its key as known to others: remove ca.key, ca-next.key and ca.pem, or, if you are sure, chmod 600 ${path}.`
        : undefined,
    );
  });

export const unusable = (detail: string, cause?: unknown, hint?: string): SidekeyError =>
  new SidekeyError("TLS_CA_UNUSABLE", { detail, cause, ...(hint === undefined ? {} : { hint }) });

export const errnoOf = systemCode;
