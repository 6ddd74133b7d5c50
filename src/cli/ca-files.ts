/** The public files of the CA of `start`, for the `ca` commands. Must never open a key. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SidekeyError } from "../core/errors.ts";
import type { SidecarConfig } from "../sidecar/app/config/config.ts";
import { certificatesIn } from "../sidecar/tls/bundle.ts";

export interface TrustedPem {
  readonly path: string;
  /** The one that signs first, then the next, then those in overlap; nothing but certificates. */
  readonly pem: string;
  /** Never empty. */
  readonly certificates: readonly X509Certificate[];
}

/** Errors: TLS_CA_UNUSABLE. */
export const readTrustedPem = (state: string): TrustedPem => {
  const path = join(state, "ca.pem");
  try {
    // Parsed so that nothing but a certificate ever leaves, whatever stands in that file.
    const certificates = certificatesIn(readFileSync(path, "utf8")).map((pem) => new X509Certificate(pem));
    if (certificates.length === 0) throw new TypeError("no certificate");
    return { path, pem: certificates.map(String).join(""), certificates };
  } catch (cause) {
    const absent = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    throw new SidekeyError("TLS_CA_UNUSABLE", {
      detail: absent ? `There is none yet: ${path} is absent.` : `${path} cannot be read as a certificate.`,
      hint: absent
        ? "'sidekey start' makes it; 'sidekey run' makes one for each run and sets it up itself."
        : "See the file and its mode.",
      cause,
    });
  }
};

/** What the bundle of `start` holds beside the system's: the file's `upstream.ca`. Errors: CONFIG_UNREADABLE. */
export const publishedExtra = async ({ upstream }: SidecarConfig): Promise<readonly string[]> => {
  if (upstream.ca === undefined) return [];
  const { readPem } = await import("../sidecar/app/way-out.ts");
  return [await readPem(upstream.ca)];
};

export interface CertificateReport {
  readonly subject: string;
  /** Upper-case hex with colons. */
  readonly sha256: string;
  readonly valid_from: string;
  readonly valid_to: string;
}

/** For `--json`. */
export const describeCertificate = (certificate: X509Certificate): CertificateReport => ({
  subject: certificate.subject,
  sha256: certificate.fingerprint256,
  valid_from: new Date(certificate.validFrom).toISOString(),
  valid_to: new Date(certificate.validTo).toISOString(),
});
