/**
 * The CA of `start` on disk: `ca.pem` (0644) and `ca.key` (0600). Made on first use, when neither file is there; any
 * other trouble is an error. It must never answer a damaged, exposed or expired CA by silently making a new one: every
 * client that trusts the old one would break, and an attacker could force it.
 *
 * `ca.key` holds the private key and, behind it, the certificate. So one atomic link publishes the pair, and two first
 * starts, or one that was killed half-way, end with one CA.
 */
import { createPrivateKey, type KeyObject, randomUUID, X509Certificate } from "node:crypto";
import { constants } from "node:fs";
import { link, mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { SidekeyError } from "../../core/errors.ts";
import {
  type AuthorityKeys,
  type AuthorityOptions,
  type CertificateAuthority,
  createAuthorityFrom,
  generateAuthorityKeys,
} from "./certificate-authority.ts";

export interface AuthorityFilesOptions extends AuthorityOptions {
  /** State directory; made with mode 0700 when absent. */
  readonly directory: string;
}

const CERTIFICATE_MODE = 0o644;
const KEY_MODE = 0o600;
/** Both files are under 2 KiB; anything large is not ours. */
const MAX_FILE_BYTES = 64 * 1024;

/** Opens the CA of a state directory, or makes it when there is none. Errors: TLS_CA_UNUSABLE with the file at fault. */
export const openCertificateAuthority = async (options: AuthorityFilesOptions): Promise<CertificateAuthority> => {
  const { directory, clock } = options;
  const certificatePath = join(directory, "ca.pem");
  const keyPath = join(directory, "ca.key");
  // The key is published first, so it is read last: a certificate that is there always has its key.
  const certificateText = await readCertificateFile(certificatePath);
  let keyText = await readKeyFile(keyPath);

  if (keyText === undefined) {
    if (certificateText !== undefined) throw unusable(`${keyPath} is missing beside ${certificatePath}.`);
    keyText = await makeKeyFile(directory, keyPath, options);
  }
  const certificate = parseCertificate(
    certificateText ?? keyText,
    certificateText === undefined ? keyPath : certificatePath,
  );
  const keys = { certificate, privateKey: parseKey(keyText, keyPath) };
  checkPair(keys, certificatePath, clock.now());
  if (certificateText === undefined) {
    await publish(certificatePath, certificate.toString(), CERTIFICATE_MODE);
  }
  return createAuthorityFrom(keys, clock);
};

/** Text of the new key file, or of the one that another process put there first. */
const makeKeyFile = async (directory: string, keyPath: string, options: AuthorityOptions): Promise<string> => {
  const { certificate, privateKey } = await generateAuthorityKeys(options);
  const text = `${privateKey.export({ type: "pkcs8", format: "pem" })}${certificate.toString()}`;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable(`${directory} cannot be made (${errnoOf(error)}).`, error);
  }
  if (await publish(keyPath, text, KEY_MODE)) return text;
  const theirs = await readKeyFile(keyPath);
  if (theirs === undefined) throw unusable(`${keyPath} came and went while it was opened.`);
  return theirs;
};

/** Puts a whole file at `path` in one step; false when something is already there, which stays as it is. */
const publish = async (path: string, text: string, mode: number): Promise<boolean> => {
  const draft = `${path}.${randomUUID()}`;
  try {
    const file = await open(draft, "wx", mode);
    try {
      // The umask may have taken bits from the mode given to open.
      await file.chmod(mode);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(draft, path);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw unusable(`${path} cannot be written (${errnoOf(error)}).`, error);
  } finally {
    await rm(draft, { force: true });
  }
};

const readCertificateFile = (path: string): Promise<string | undefined> => readRegularFile(path, 0);

const readKeyFile = (path: string): Promise<string | undefined> => readRegularFile(path, 0o077);

/** Undefined only when nothing is there. Mode bits in `forbidden` are refused, judged on the file that was opened. */
const readRegularFile = async (path: string, forbidden: number): Promise<string | undefined> => {
  try {
    // Non-blocking, so that a FIFO put in its place can't hang the start.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { mode, size } = await file.stat();
      if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw unusable(`${path} is not a regular file.`);
      if (size > MAX_FILE_BYTES) throw unusable(`${path} is too large.`);
      if ((mode & forbidden) !== 0) {
        throw unusable(
          `${path} is open to other users (mode ${(mode & 0o777).toString(8)}).`,
          undefined,
          `Treat its key as known to others: remove ca.key and ca.pem, or, if you are sure, chmod 600 ${path}.`,
        );
      }
      return await file.readFile("utf8");
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof SidekeyError) throw error;
    if (errnoOf(error) === "ENOENT") return undefined;
    throw unusable(`${path} cannot be read (${errnoOf(error)}).`, error);
  }
};

const parseKey = (text: string, path: string): KeyObject => {
  try {
    return createPrivateKey(text);
  } catch {
    // The cause is dropped: what OpenSSL says about key material belongs in no log.
    throw unusable(`${path} holds no private key.`);
  }
};

const parseCertificate = (text: string, path: string): X509Certificate => {
  try {
    return new X509Certificate(text);
  } catch (error) {
    throw unusable(`${path} holds no certificate.`, error);
  }
};

const checkPair = ({ certificate, privateKey }: AuthorityKeys, path: string, now: number): void => {
  if (privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw unusable("ca.key is not a P-256 key.");
  if (!certificate.ca) throw unusable(`${path} is not the certificate of a CA.`);
  if (!certificate.checkPrivateKey(privateKey)) throw unusable(`ca.key does not belong to ${path}.`);
  if (now >= Date.parse(certificate.validTo)) {
    throw unusable(`${path} expired ${certificate.validTo}.`, undefined, "Make a new one: sidekey ca rotate.");
  }
  if (now < Date.parse(certificate.validFrom)) {
    throw unusable(
      `${path} is valid from ${certificate.validFrom} only.`,
      undefined,
      "Check the clock of this machine.",
    );
  }
};

const unusable = (detail: string, cause?: unknown, hint?: string): SidekeyError =>
  new SidekeyError("TLS_CA_UNUSABLE", { detail, cause, ...(hint === undefined ? {} : { hint }) });

const errnoOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown error";
