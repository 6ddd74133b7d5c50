/**
 * The files that a connection to a vault is made with: whom it believes, and the certificate it shows. Each is judged
 * before it is used, since a handshake that fails says neither file's name. Must never put what stands in one into a word.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats, statSync } from "node:fs";
import { systemCode } from "../core/whole-file.ts";

/** Absolute paths of PEM files. */
export interface ClientTlsFiles {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly certKey?: string | undefined;
}

/** PEM. */
export interface ClientTls {
  readonly ca?: string;
  readonly certificate?: { readonly cert: string; readonly key: string };
}

export interface TlsFault {
  /** Of the file. */
  readonly key: "ca" | "cert" | "cert_key";
  readonly path: string;
  /** After the path: `holds no certificate in PEM`. */
  readonly reason: string;
  readonly hint: string | undefined;
  /** Nothing was read. */
  readonly isUnreadable: boolean;
}

export interface PemFault {
  /** After the path. */
  readonly reason: string;
  readonly hint?: string;
}

/** The whole of Mozilla's list has a quarter of this. `bytes` */
export const MAX_PEM = 1024 * 1024;
const OTHERS = 0o077;
const LABELS = { certificate: "CERTIFICATE", "private key": "(?:[A-Z]+ )?PRIVATE KEY" } as const;

/** Why `text` holds none. */
export const pemFault = (text: string, what: keyof typeof LABELS, path: string): PemFault | undefined => {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text)) {
    return { reason: "is locked with a passphrase", hint: `openssl pkey -in ${path} -out FILE unlocks it.` };
  }
  return new RegExp(`-----BEGIN ${LABELS[what]}-----`).test(text) ? undefined : { reason: `holds no ${what} in PEM` };
};

/** Whether `key` is that of the first certificate in `cert`; undefined: one of them is damaged. */
export const isPair = (cert: string, key: string): boolean | undefined => {
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
  } catch {
    return undefined;
  }
};

const MEND_PAIR = "Name a certificate and the key that it was issued for.";

/** What is good of them, and what is wrong with the others. Reads again whatever it read before. */
export const readClientTls = ({
  ca,
  cert,
  certKey,
}: ClientTlsFiles): { readonly tls: ClientTls; readonly faults: readonly TlsFault[] } => {
  const faults: TlsFault[] = [];
  const read = (key: TlsFault["key"], path: string | undefined): string | undefined => {
    if (path === undefined) return undefined;
    const what = key === "cert_key" ? "private key" : "certificate";
    const found = readPem(path, key === "cert_key");
    const fault = typeof found === "string" ? pemFault(found, what, path) : found;
    if (fault === undefined && typeof found === "string") return found;
    faults.push({ key, path, reason: "", hint: undefined, isUnreadable: typeof found !== "string", ...fault });
    return undefined;
  };
  const trusted = read("ca", ca);
  const certText = read("cert", cert);
  const keyText = read("cert_key", certKey);
  const tls = { ...(trusted !== undefined && { ca: trusted }) };
  if (certText === undefined || keyText === undefined || certKey === undefined) return { tls, faults };
  const fits = isPair(certText, keyText);
  if (fits === true) return { tls: { ...tls, certificate: { cert: certText, key: keyText } }, faults };
  const reason = fits === undefined ? `or ${cert} is damaged` : `is not the key of the first certificate in ${cert}`;
  return { tls, faults: [...faults, { key: "cert_key", path: certKey, reason, hint: MEND_PAIR, isUnreadable: false }] };
};

/** Another word whenever one of the files may be another. */
export const stampOfFiles = (paths: readonly string[]): string =>
  paths
    .map((path) => {
      const found = statSync(path, { throwIfNoEntry: false, bigint: true });
      return found === undefined ? "absent" : `${found.ino} ${found.size} ${found.mtimeNs}`;
    })
    .join();

const readPem = (path: string, isPrivate: boolean): string | PemFault => {
  let fd: number;
  try {
    // Non-blocking: a FIFO in its place must not hang the start.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return { reason: `cannot be read (${systemCode(error)})` };
  }
  try {
    const found = fstatSync(fd);
    if (!found.isFile()) return { reason: "is no plain file" };
    if (found.size > MAX_PEM) return { reason: "is far too large" };
    if (isPrivate && isOpenToOthers(found)) {
      const mode = (found.mode & 0o777).toString(8).padStart(4, "0");
      const hint = `See who had access to it, then: chmod 600 ${path}`;
      return { reason: `is open to other users (mode ${mode})`, hint };
    }
    return readFileSync(fd, "utf8");
  } catch (error) {
    return { reason: `cannot be read (${systemCode(error)})` };
  } finally {
    closeSync(fd);
  }
};

/** What root put there for this user (a mounted secret) is root's to judge, and this user could not mend it. */
const isOpenToOthers = ({ mode, uid }: Stats): boolean => (mode & OTHERS) !== 0 && uid === process.getuid?.();
