/**
 * `ca rotate`: the next CA becomes the one that signs, a new next one is made, the one before stays trusted for a while.
 * Each step is one atomic change, in an order that leaves a working CA wherever it is cut: nothing ever signs that
 * `ca.pem` does not hold. A sidecar that runs reads `ca.key` again by itself.
 */
import { randomBytes, type X509Certificate } from "node:crypto";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { nodeAuditFs } from "../../audit/file-access.ts";
import { type AuditLock, lockAudit } from "../../audit/lock.ts";
import type { EpochMs } from "../../core/clock.ts";
import { isSidekeyError, type SidekeyError } from "../../core/errors.ts";
import { CERTIFICATE_MODE, errnoOf, KEY_MODE, readCertificateFile, replaceFile, unusable } from "./authority-files.ts";
import { type AuthorityKeys, generateAuthorityKeys } from "./certificate-authority.ts";
import {
  type AuthorityFilesOptions,
  authorityPaths,
  generateNextKeys,
  isAsWanted,
  isOver,
  keyFileText,
  readCurrentKeys,
  readNextKeys,
  trustedNow,
} from "./certificate-files.ts";
import { OVERLAP_MS, retire } from "./retired.ts";

export interface Rotation {
  readonly current: X509Certificate;
  readonly next: X509Certificate;
  readonly previous: X509Certificate;
  /** Until when `ca.pem` holds the previous one. */
  readonly previousUntil: EpochMs;
  /** Whether agents that run now know the one that signs from now on. */
  readonly wasTrusted: boolean;
  /** What `ca.pem` holds. */
  readonly trustedPem: string;
}

/** Errors: TLS_CA_UNUSABLE. What is left undone then, the next start or rotation does. */
export const rotateAuthority = async (options: AuthorityFilesOptions): Promise<Rotation> => {
  if ((await readCurrentKeys(options.directory)) === undefined) throw noneYet(options.directory);
  const lock = await takeLock(options.directory);
  try {
    return await rotate(options);
  } finally {
    lock.release();
  }
};

const rotate = async (options: AuthorityFilesOptions): Promise<Rotation> => {
  const { directory, clock } = options;
  const paths = authorityPaths(directory);
  const previous = (await readCurrentKeys(directory))?.certificate;
  if (previous === undefined) throw noneYet(directory);
  const ahead = await usableNext(options);
  const successor = ahead ?? (await generateAuthorityKeys(options));
  const { certificate: current } = successor;
  const now = clock.now();
  const wasTrusted = ahead !== undefined && (await isIn(paths.trusted, current));
  if (!wasTrusted) {
    // Trusted before it signs, for whoever reads the file between two of these steps.
    const pem = await trustedNow(directory, previous, current, now);
    await replaceFile(paths.trusted, pem, CERTIFICATE_MODE);
  }
  await retire(paths.retired, previous.toString(), now);
  let next: X509Certificate;
  if (ahead === undefined) {
    next = await makeNext(options);
    await replaceFile(paths.key, keyFileText(successor), KEY_MODE);
  } else {
    await rename(paths.next, paths.key).catch((error: unknown) => {
      throw unusable(`${paths.key} cannot be written (${errnoOf(error)}).`, error);
    });
    next = await makeNext(options);
  }
  const trustedPem = await trustedNow(directory, current, next, now);
  await replaceFile(paths.trusted, trustedPem, CERTIFICATE_MODE);
  return { current, next, previous, previousUntil: now + OVERLAP_MS, wasTrusted, trustedPem };
};

/** Undefined when there is none, or none that could sign: its place is taken by a fresh one. */
const usableNext = async ({
  directory,
  clock,
  permitted,
}: AuthorityFilesOptions): Promise<AuthorityKeys | undefined> => {
  try {
    const keys = await readNextKeys(directory);
    if (keys === undefined || isOver(keys.certificate, clock.now())) return undefined;
    return (await isAsWanted(keys.certificate, permitted)) ? keys : undefined;
  } catch (error) {
    if (isSidekeyError(error)) return undefined;
    throw error;
  }
};

const makeNext = async (options: AuthorityFilesOptions): Promise<X509Certificate> => {
  const keys = await generateNextKeys(options);
  await replaceFile(authorityPaths(options.directory).next, keyFileText(keys), KEY_MODE);
  return keys.certificate;
};

const noneYet = (directory: string): SidekeyError =>
  unusable(`There is none yet: ${authorityPaths(directory).key} is absent.`, undefined, "'sidekey start' makes it.");

const isIn = async (path: string, certificate: X509Certificate): Promise<boolean> =>
  ((await readCertificateFile(path)) ?? "").includes(certificate.toString().trim());

/** Two at once would retire a CA that nobody has seen. */
const takeLock = async (directory: string): Promise<AuditLock> => {
  const path = join(directory, "ca.rotation");
  try {
    return await lockAudit(path, randomBytes, nodeAuditFs);
  } catch (error) {
    if (!isSidekeyError(error)) throw unusable(`${path}.lock cannot be made (${errnoOf(error)}).`, error);
    throw unusable(`Another rotation is under way: ${error.detail ?? path}`, error, "Try again when it has ended.");
  }
};
