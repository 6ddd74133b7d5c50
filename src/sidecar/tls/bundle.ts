/**
 * The trust bundle for clients whose variable replaces the system's list (SSL_CERT_FILE and its like): Sidekey's CA, the
 * system's certificates, and what the caller's own variable named. Only certificates are copied, whatever else a file
 * holds, so that a private key beside a certificate never ends up in a world-readable bundle.
 */
import { readFile } from "node:fs/promises";
import { rootCertificates } from "node:tls";

/** Debian and Alpine, RHEL, RHEL's extracted form, SUSE, macOS and BSD. */
const SYSTEM_BUNDLES: readonly string[] = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

export interface BundleOptions {
  /** Sidekey's own: the CA that signs, the next one, those in overlap. They come first. */
  readonly certificatePem: string;
  /** Files to try; the first with a certificate wins. Default `SYSTEM_BUNDLES`; without any, Node's own list. */
  readonly systemBundles?: readonly string[];
  /** PEM texts. */
  readonly extra?: readonly string[];
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** PEM text, each certificate once. */
export const createBundle = async (options: BundleOptions): Promise<string> => {
  const { certificatePem, systemBundles = SYSTEM_BUNDLES, extra = [] } = options;
  const certificates = new Set(certificatesIn(certificatePem));
  for (const pem of await systemCertificates(systemBundles)) certificates.add(pem);
  for (const text of extra) for (const pem of certificatesIn(text)) certificates.add(pem);
  return `${[...certificates].join("\n")}\n`;
};

const systemCertificates = async (paths: readonly string[]): Promise<readonly string[]> => {
  for (const path of paths) {
    // Absent or unreadable is the same here: less trust is the safe side, and the next file may do.
    const text = await readFile(path, "utf8").catch(() => "");
    const found = certificatesIn(text);
    if (found.length > 0) return found;
  }
  return rootCertificates;
};

/** The certificates of a PEM text. Line ends are made equal, so that the same one from two systems is found to be one. */
export const certificatesIn = (text: string): readonly string[] =>
  (text.match(CERTIFICATE) ?? []).map((pem) => pem.replace(/\r\n?/g, "\n"));
