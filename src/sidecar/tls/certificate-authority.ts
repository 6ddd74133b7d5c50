/**
 * The interception CA: mints short-lived leaf certificates for the hosts of routes. The only user of @peculiar/x509 and
 * reflect-metadata, which load when the first certificate is made (they take hundreds of milliseconds). It decides
 * nothing about which hosts may be minted, and its private key has no way out but `AuthorityKeys`, for the CA's file.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import type * as X509 from "@peculiar/x509";
import type { Host } from "../../core/authority.ts";
import type { Clock, EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";

export interface LeafCertificate {
  /** The leaf alone: its issuer is the root that the client trusts. */
  readonly certPem: string;
  /** PKCS#8; the same key for every leaf of this process. */
  readonly keyPem: string;
  readonly notAfter: EpochMs;
}

export interface CertificateAuthority {
  readonly certificatePem: string;
  /** SHA-256 of the certificate, upper-case hex with colons, as `openssl x509 -fingerprint -sha256` prints it. */
  readonly fingerprint: string;
  readonly notAfter: EpochMs;
  /** A fresh leaf for one host. Errors: TLS_CA_UNUSABLE once the CA itself has expired. */
  issue(host: Host): Promise<LeafCertificate>;
}

/** What the CA consists of; `certificate-files.ts` keeps it on disk. */
export interface AuthorityKeys {
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

export interface AuthorityOptions {
  readonly clock: Clock;
  /** Life of a new CA in days. */
  readonly days?: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const DEFAULT_DAYS = 365;
const LEAF_LIFE = DAY;
/** Clients whose clock is behind must not see a certificate from the future. */
const LEAF_BACKDATE = 5 * MINUTE;
/** Longer than a leaf's, so that no leaf begins before its CA. */
const CA_BACKDATE = HOUR;
const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A CA whose key exists in memory only, for one run. */
export const createCertificateAuthority = async (options: AuthorityOptions): Promise<CertificateAuthority> =>
  createAuthorityFrom(await generateAuthorityKeys(options), options.clock);

/** A new self-signed root: P-256, path length 0, no other use than signing certificates and CRLs. */
export const generateAuthorityKeys = async (options: AuthorityOptions): Promise<AuthorityKeys> => {
  const { clock, days = DEFAULT_DAYS } = options;
  const x509 = await loadX509();
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  // A certificate can't hold its own fingerprint, so the name carries the key's: enough to tell two CAs apart in a list.
  const name = [{ CN: [`Sidekey CA ${createHash("sha256").update(spki).digest("hex").slice(0, 8)}`] }];
  const now = clock.now();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject: name,
    issuer: name,
    notBefore: new Date(now - CA_BACKDATE),
    notAfter: new Date(now + days * DAY),
    publicKey: spki,
    signingKey: await importSigningKey(privateKey),
    signingAlgorithm: ECDSA,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectKeyIdentifierExtension(keyIdentifier(publicKey)),
    ],
  });
  return { certificate: new X509Certificate(Buffer.from(certificate.rawData)), privateKey };
};

/** The CA made of checked parts. No certificate library is loaded before the first `issue`. */
export const createAuthorityFrom = (keys: AuthorityKeys, clock: Clock): CertificateAuthority => {
  const { certificate, privateKey } = keys;
  const notAfter = Date.parse(certificate.validTo);
  let minter: Promise<Minter> | undefined;

  return {
    certificatePem: certificate.toString(),
    fingerprint: certificate.fingerprint256,
    notAfter,
    async issue(host) {
      const now = clock.now();
      if (now >= notAfter) throw new SidekeyError("TLS_CA_UNUSABLE", { detail: `It expired ${certificate.validTo}.` });
      minter ??= createMinter(certificate, privateKey);
      return (await minter)(host, now - LEAF_BACKDATE, Math.min(now + LEAF_LIFE, notAfter));
    },
  };
};

type Minter = (host: Host, notBefore: EpochMs, notAfter: EpochMs) => Promise<LeafCertificate>;

/** Everything that all leaves share is made once here: the leaf key, the issuer's name and the fixed extensions. */
const createMinter = async (certificate: X509Certificate, caKey: KeyObject): Promise<Minter> => {
  const x509 = await loadX509();
  const signingKey = await importSigningKey(caKey);
  const ca = new x509.X509Certificate(certificate.raw);
  // OpenSSL takes a leaf whose key identifier differs from its issuer's for somebody else's.
  const caKeyId = ca.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId ?? keyIdentifier(certificate.publicKey);
  const leaf = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicKey = leaf.publicKey.export({ type: "spki", format: "der" });
  const keyPem = leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const shared = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    new x509.AuthorityKeyIdentifierExtension(caKeyId),
    new x509.SubjectKeyIdentifierExtension(keyIdentifier(leaf.publicKey)),
  ];

  return async (host, notBefore, notAfter) => {
    const name = { type: host.kind === "name" ? "dns" : "ip", value: host.name } as const;
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: randomSerial(),
      // RFC 5280 section 4.1.2.6: without a subject the SAN must be critical. A common name holds 64 characters at most.
      ...(host.name.length <= 64 ? { subject: [{ CN: [host.name] }] } : {}),
      issuer: ca.subjectName,
      notBefore: new Date(notBefore),
      notAfter: new Date(notAfter),
      publicKey,
      signingKey,
      signingAlgorithm: ECDSA,
      extensions: [...shared, new x509.SubjectAlternativeNameExtension([name], host.name.length > 64)],
    });
    return { certPem: `${certificate.toString("pem")}\n`, keyPem, notAfter };
  };
};

/** The library needs the metadata polyfill to be there before it. */
const loadX509 = async (): Promise<typeof X509> => {
  await import("reflect-metadata");
  return import("@peculiar/x509");
};

const importSigningKey = (key: KeyObject): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey("pkcs8", key.export({ type: "pkcs8", format: "der" }), ECDSA, false, ["sign"]);

/** RFC 7093 section 2, method 1: the leftmost 160 bits of the SHA-256 of the public key's bits. */
const keyIdentifier = (publicKey: KeyObject): string => {
  const { x = "", y = "" } = publicKey.export({ format: "jwk" });
  const point = Buffer.concat([Buffer.from([4]), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]);
  return createHash("sha256").update(point).digest("hex").slice(0, 40);
};

/** RFC 5280 section 4.1.2.2: positive, at most 20 octets; 126 random bits. */
const randomSerial = (): string => {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial.toString("hex");
};
