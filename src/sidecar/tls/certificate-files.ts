/**
 * The CA of `start` on disk. `ca.key` signs; `ca-next.key` is made ahead, so that agents trust it before it signs (both
 * 0600); `ca.pem` (0644) has the certificates to trust: the one that signs, the next, and for a while those before
 * (`ca-old.pem`). Made on first use, when neither `ca.key` nor `ca.pem` is there; any other trouble is an error. It must
 * never answer a damaged, exposed or expired CA by silently making a new one: every client that trusts the old one would
 * break, and an attacker could force it.
 *
 * A key file holds the private key and, behind it, the certificate. So one atomic step publishes the pair: two first
 * starts, or one that was killed half-way, end with one CA. What signs must stand in `ca.pem`, at whatever place: that is
 * how a rotation that was cut short is told from a key that somebody exchanged.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { EpochMs } from "../../core/clock.ts";
import { isSidekeyError, type SidekeyError } from "../../core/errors.ts";
import {
  CERTIFICATE_MODE,
  errnoOf,
  KEY_MODE,
  publishFile,
  readCertificateFile,
  readKeyFile,
  replaceFile,
  unusable,
} from "./authority-files.ts";
import { certificatesIn } from "./bundle.ts";
import {
  type AuthorityKeys,
  type AuthorityOptions,
  type CertificateAuthority,
  constraintsOf,
  createAuthorityFrom,
  DEFAULT_CA_DAYS,
  generateAuthorityKeys,
} from "./certificate-authority.ts";
import type { PermittedHost } from "./name-constraints.ts";
import { readRetired } from "./retired.ts";

export interface AuthorityFilesOptions extends AuthorityOptions {
  /** State directory; made with mode 0700 when absent. */
  readonly directory: string;
  /** Rejects when the one that signs may not serve; before anything is written beside it. */
  readonly accept?: (certificate: X509Certificate) => Promise<void>;
}

export interface AuthorityFiles {
  readonly authority: CertificateAuthority;
  /** Signs after the next rotation; undefined when its file cannot be used. */
  readonly next: X509Certificate | undefined;
  /** Why there is no `next`: TLS_CA_UNUSABLE. Nothing that is signed now depends on it. */
  readonly nextProblem: SidekeyError | undefined;
  /** There was another, which no longer could be used: agents have to be given `ca.pem` again before a rotation. */
  readonly isNextReplaced: boolean;
  /** What `ca.pem` holds. */
  readonly trustedPem: string;
}

export const authorityPaths = (directory: string) => ({
  key: join(directory, "ca.key"),
  next: join(directory, "ca-next.key"),
  trusted: join(directory, "ca.pem"),
  retired: join(directory, "ca-old.pem"),
});

/**
 * Opens the CA of a state directory, or makes it when there is none, with the next one, and brings `ca.pem` up to date.
 * Errors: TLS_CA_UNUSABLE with the file at fault.
 */
export const openAuthorityFiles = async (options: AuthorityFilesOptions): Promise<AuthorityFiles> => {
  const { directory, clock } = options;
  const paths = authorityPaths(directory);
  const keys = (await readCurrentKeys(directory)) ?? (await makeFirst(options));
  checkLife(keys.certificate, paths.trusted, clock.now());
  await options.accept?.(keys.certificate);
  const ahead = await openNext(options);
  const { next } = ahead;
  const trustedPem = await trustedNow(directory, keys.certificate, next, clock.now());
  if ((await readCertificateFile(paths.trusted)) !== trustedPem) {
    await replaceFile(paths.trusted, trustedPem, CERTIFICATE_MODE);
  }
  return { authority: createAuthorityFrom(keys, clock), ...ahead, trustedPem };
};

/** The CA that signs, for a sidecar that runs: nothing is made or written. Errors: TLS_CA_UNUSABLE. */
export const readAuthority = async (options: AuthorityFilesOptions): Promise<CertificateAuthority> => {
  const { key, trusted } = authorityPaths(options.directory);
  const keys = await readCurrentKeys(options.directory);
  if (keys === undefined) throw unusable(`${key} is gone.`);
  checkLife(keys.certificate, trusted, options.clock.now());
  return createAuthorityFrom(keys, options.clock);
};

/** The pair that signs, whatever its dates; undefined when there has never been one. Errors: TLS_CA_UNUSABLE. */
export const readCurrentKeys = async (directory: string): Promise<AuthorityKeys | undefined> => {
  const paths = authorityPaths(directory);
  // The key is published first, so it is read last: a certificate that is there always has its key.
  const trustedText = await readCertificateFile(paths.trusted);
  const keyText = await readKeyFile(paths.key);
  if (keyText === undefined) {
    if (trustedText === undefined) return undefined;
    throw unusable(
      `${paths.key} is missing beside ${paths.trusted}.`,
      undefined,
      `Put it back; or remove ${paths.trusted} too, and hand the new one to the agents.`,
    );
  }
  const trusted = trustedText === undefined ? [] : parseCertificates(trustedText, paths.trusted);
  const [own] = certificatesIn(keyText);
  const [first] = own === undefined ? trusted : parseCertificates(own, paths.key);
  if (first === undefined) throw unusable(`${paths.key} holds no certificate.`);
  const keys = { certificate: first, privateKey: parseKey(keyText, paths.key) };
  checkPair(keys, paths.key);
  if (trustedText !== undefined && !trusted.some(({ fingerprint256 }) => fingerprint256 === first.fingerprint256)) {
    throw unusable(`ca.key does not belong to ${paths.trusted}.`);
  }
  return keys;
};

/** The pair that is to sign next; undefined when there is none. Errors: TLS_CA_UNUSABLE. */
export const readNextKeys = async (directory: string): Promise<AuthorityKeys | undefined> => {
  const path = authorityPaths(directory).next;
  const text = await readKeyFile(path);
  if (text === undefined) return undefined;
  const [certificate] = parseCertificates(text, path);
  if (certificate === undefined) throw unusable(`${path} holds no certificate.`);
  const keys = { certificate, privateKey: parseKey(text, path) };
  checkPair(keys, path);
  return keys;
};

/** It outlives the one that signs now by a whole life, so that it lasts when its turn comes. */
export const generateNextKeys = (options: AuthorityOptions): Promise<AuthorityKeys> =>
  generateAuthorityKeys({ ...options, days: 2 * (options.days ?? DEFAULT_CA_DAYS) });

export const keyFileText = ({ certificate, privateKey }: AuthorityKeys): string =>
  `${privateKey.export({ type: "pkcs8", format: "pem" })}${certificate.toString()}`;

/** The certificates to trust, the one that signs first, each once. */
export const trustedNow = async (
  directory: string,
  current: X509Certificate,
  next: X509Certificate | undefined,
  now: EpochMs,
): Promise<string> => {
  const retired = await readRetired(authorityPaths(directory).retired, now);
  const all = [current.toString(), ...(next === undefined ? [] : [next.toString()]), ...retired.map(({ pem }) => pem)];
  return [...new Set(all.flatMap(certificatesIn))].map((pem) => `${pem}\n`).join("");
};

/** Whether a CA is what the file asks for: constrained to exactly these hosts, or to none. */
export const isAsWanted = async (
  certificate: X509Certificate,
  permitted: readonly PermittedHost[] | undefined,
): Promise<boolean> => {
  const found = await constraintsOf(certificate);
  if (found === undefined || permitted === undefined) return found === permitted;
  return found !== "unknown" && keyOf(found) === keyOf(permitted);
};

const keyOf = (hosts: readonly PermittedHost[]): string => [...new Set(hosts.map(({ name }) => name))].sort().join(" ");

const makeFirst = async (options: AuthorityFilesOptions): Promise<AuthorityKeys> => {
  const { directory } = options;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable(`${directory} cannot be made (${errnoOf(error)}).`, error);
  }
  const made = await generateAuthorityKeys(options);
  const { key } = authorityPaths(directory);
  if (await publishFile(key, keyFileText(made), KEY_MODE)) return made;
  const theirs = await readCurrentKeys(directory);
  if (theirs === undefined) throw unusable(`${key} came and went while it was opened.`);
  return theirs;
};

/** One that has expired, or no longer is what the file asks for, is made anew: nobody could use it. */
const openNext = async (options: AuthorityFilesOptions): Promise<Omit<AuthorityFiles, "authority" | "trustedPem">> => {
  const { directory, clock, permitted } = options;
  const path = authorityPaths(directory).next;
  let isNextReplaced = false;
  try {
    const there = await readNextKeys(directory);
    if (there === undefined) {
      await publishFile(path, keyFileText(await generateNextKeys(options)), KEY_MODE);
    } else if (isOver(there.certificate, clock.now()) || !(await isAsWanted(there.certificate, permitted))) {
      await replaceFile(path, keyFileText(await generateNextKeys(options)), KEY_MODE);
      isNextReplaced = true;
    } else return { next: there.certificate, nextProblem: undefined, isNextReplaced };
    // Read again: another process may have been first.
    return { next: (await readNextKeys(directory))?.certificate, nextProblem: undefined, isNextReplaced };
  } catch (error) {
    if (!isSidekeyError(error)) throw error;
    return { next: undefined, nextProblem: error, isNextReplaced };
  }
};

export const isOver = (certificate: X509Certificate, now: EpochMs): boolean => now >= Date.parse(certificate.validTo);

const parseKey = (text: string, path: string): KeyObject => {
  try {
    return createPrivateKey(text);
  } catch {
    // The cause is dropped: what OpenSSL says about key material belongs in no log.
    throw unusable(`${path} holds no private key.`);
  }
};

/** Never empty. */
const parseCertificates = (text: string, path: string): readonly X509Certificate[] => {
  const found = certificatesIn(text);
  if (found.length === 0) throw unusable(`${path} holds no certificate.`);
  try {
    return found.map((pem) => new X509Certificate(pem));
  } catch (error) {
    throw unusable(`${path} holds no certificate.`, error);
  }
};

const checkPair = ({ certificate, privateKey }: AuthorityKeys, path: string): void => {
  if (privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw unusable(`${path} is not a P-256 key.`);
  if (!certificate.ca) throw unusable(`The certificate of ${path} is not that of a CA.`);
  if (!certificate.checkPrivateKey(privateKey))
    throw unusable(`The key in ${path} does not belong to its certificate.`);
};

const checkLife = (certificate: X509Certificate, path: string, now: EpochMs): void => {
  if (isOver(certificate, now)) {
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
