/**
 * What the connections to a vault are made with, read again when its files change: certificates are renewed. What cannot
 * be used changes nothing, and is told once it is no half of a change any more. Opens no connection.
 */
import { resolve } from "node:path";
import { type ClientTls, type ClientTlsFiles, readClientTls, stampOfFiles } from "../../../config/client-tls.ts";
import type { Closable } from "../../../core/closer.ts";
import { SidekeyError, toSidekeyError } from "../../../core/errors.ts";
import type { Log } from "../../../core/log.ts";
import type { After } from "../fetch.ts";

export interface TlsWatchOptions {
  /** Declared name of the source, for errors and the log. */
  readonly source: string;
  readonly files: ClientTlsFiles;
  /** For connections from here on. Errors: whatever keeps it from being used. */
  readonly use: (tls: ClientTls) => void;
  readonly after: After;
  readonly log: Log;
}

/** Of a source in the file. */
interface TlsFields {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly cert_key?: string | undefined;
}

const LOOK_EVERY_MS = 1_000;

/** As the file has them, relative to `baseDir`. */
export const tlsFilesOf = ({ ca, cert, cert_key: certKey }: TlsFields, baseDir: string): ClientTlsFiles => {
  const at = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : resolve(baseDir, path);
  return { ca: at(ca), cert: at(cert), certKey: at(certKey) };
};

/** Errors: CONFIG_UNREADABLE, CONFIG_INVALID, which name source, key and file. */
export const requireClientTls = (files: ClientTlsFiles, source: string): ClientTls => {
  const { tls, faults } = readClientTls(files);
  const [fault] = faults;
  if (fault === undefined) return tls;
  const { key, path, reason, hint, isUnreadable } = fault;
  throw new SidekeyError(isUnreadable ? "CONFIG_UNREADABLE" : "CONFIG_INVALID", {
    detail: `source ${source}, '${key}': ${path} ${reason}.`,
    ...(hint !== undefined && { hint }),
  });
};

/** `first` was used already; looks for another from here on. */
export const watchClientTls = (options: TlsWatchOptions, first: ClientTls): Closable => {
  const { source, files, use, after, log } = options;
  const paths = Object.values(files).filter((path) => path !== undefined);
  let used = textOf(first);
  /** Of what was read with success, or told of. */
  let settled = stampOfFiles(paths);
  /** At the look before. */
  let seen = settled;

  const look = (): void => {
    cancel = after(LOOK_EVERY_MS, look);
    const now = stampOfFiles(paths);
    // A certificate and its key are two files: between the two writes they do not fit.
    const isHalf = now !== seen;
    seen = now;
    if (now === settled) return;
    try {
      const tls = requireClientTls(files, source);
      settled = now;
      if (textOf(tls) === used) return;
      use(tls);
      used = textOf(tls);
      log.info("the files that the vault is connected with were read again", { source });
    } catch (error) {
      if (isHalf) return;
      settled = now;
      const { code, detail, hint } = toSidekeyError(error);
      log.warn("the files that the vault is connected with cannot be used, and those before stay", {
        source,
        code,
        detail,
        hint,
      });
    }
  };
  let cancel = paths.length === 0 ? (): void => {} : after(LOOK_EVERY_MS, look);
  return { close: () => cancel() };
};

const textOf = ({ ca = "", certificate }: ClientTls): string =>
  JSON.stringify([ca, certificate?.cert, certificate?.key]);
