/**
 * The certificate of the server, read anew when its files change: connections that are open stay, new ones get the new
 * one. A pair that does not fit is logged once and changes nothing. Must never put a key into an error.
 */
import { readFileSync, statSync } from "node:fs";
import type { Server } from "node:https";
import { createSecureContext } from "node:tls";
import { SidekeyError } from "../../../core/errors.ts";
import type { Log } from "../../../core/log.ts";
import { systemCode } from "../../../core/whole-file.ts";
import type { TlsFiles } from "../config/model.ts";
import { MIN_TLS, type TlsMaterial } from "./server.ts";

export interface CertificateWatch {
  /** Reads the files now; false when they cannot be used. */
  reload(): boolean;
  close(): void;
}

/** `ms` */
const LOOK_EVERY_MS = 1_000;

/** Errors: VAULT_SERVER_TLS. */
export const readTls = ({ cert, key, clientCa }: TlsFiles): TlsMaterial => {
  const material = {
    cert: read(cert, "tls.cert"),
    key: read(key, "tls.key"),
    ...(clientCa !== undefined && { ca: read(clientCa, "tls.client_ca") }),
    requestCert: clientCa !== undefined,
  };
  try {
    createSecureContext(material);
  } catch (cause) {
    throw new SidekeyError("VAULT_SERVER_TLS", { detail: `${cert} and ${key} do not fit (${systemCode(cause)}).` });
  }
  return material;
};

const read = (path: string, key: string): Buffer => {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SidekeyError("VAULT_SERVER_TLS", { detail: `${key}: ${path} cannot be read (${systemCode(cause)}).` });
  }
};

export const watchCertificate = (
  server: Pick<Server, "setSecureContext">,
  files: TlsFiles,
  log: Log,
): CertificateWatch => {
  let seen = stateOf(files);
  const reload = (): boolean => {
    seen = stateOf(files);
    try {
      server.setSecureContext({ ...readTls(files), minVersion: MIN_TLS });
      log.info("certificate read");
      return true;
    } catch (error) {
      log.error("the certificate cannot be used, the one before stays", {
        detail: error instanceof SidekeyError ? error.detail : "unknown",
      });
      return false;
    }
  };
  const timer = setInterval(() => {
    if (stateOf(files) !== seen) reload();
  }, LOOK_EVERY_MS).unref();
  return { reload, close: () => clearInterval(timer) };
};

/** Different whenever one of the files may be another. */
const stateOf = ({ cert, key, clientCa }: TlsFiles): string =>
  [cert, key, ...(clientCa === undefined ? [] : [clientCa])]
    .map((path) => {
      const found = statSync(path, { throwIfNoEntry: false });
      return found === undefined ? "none" : `${found.ino} ${found.mtimeMs} ${found.size}`;
    })
    .join(", ");
