/** The two files that clients trust, as `ca export`, `tls.export` and the state directory have them. Never a key. */
import { chmod, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CERTIFICATE_MODE, errnoOf, replaceFile, unusable } from "./authority-files.ts";
import { certificatesIn, createBundle } from "./bundle.ts";

export interface TrustFiles {
  /** Absolute path of `ca.pem`: Sidekey's certificates alone. */
  readonly ca: string;
  /** Of `ca-bundle.pem`: with the system's, and others'. */
  readonly bundle: string;
}

/**
 * Writes both, each whole or not at all (a client may be reading), mode 0644 whatever the umask. A directory that is not
 * there is made for everybody to read. `extra`: PEM texts. Errors: TLS_CA_UNUSABLE.
 */
export const writeTrustFiles = async (
  directory: string,
  trustedPem: string,
  extra: readonly string[],
): Promise<TrustFiles> => {
  await makeReadable(directory);
  const ca = join(directory, "ca.pem");
  // Whatever the text came from: only certificates leave.
  await replaceFile(ca, onlyCertificates(trustedPem), CERTIFICATE_MODE);
  return { ca, bundle: await writeBundle(directory, trustedPem, extra) };
};

/** The bundle alone; its path. Errors: TLS_CA_UNUSABLE. */
export const writeBundle = async (directory: string, trustedPem: string, extra: readonly string[]): Promise<string> => {
  const path = join(directory, "ca-bundle.pem");
  const text = await createBundle({ certificatePem: onlyCertificates(trustedPem), extra });
  await replaceFile(path, text, CERTIFICATE_MODE);
  return path;
};

const onlyCertificates = (text: string): string =>
  certificatesIn(text)
    .map((pem) => `${pem}\n`)
    .join("");

const makeReadable = async (directory: string): Promise<void> => {
  try {
    const first = await mkdir(directory, { recursive: true, mode: 0o755 });
    if (first === undefined) return;
    // The umask may have closed them to those they are for.
    for (let made = directory; made.length >= first.length; made = dirname(made)) await chmod(made, 0o755);
  } catch (error) {
    throw unusable(`${directory} cannot be made (${errnoOf(error)}).`, error);
  }
};
