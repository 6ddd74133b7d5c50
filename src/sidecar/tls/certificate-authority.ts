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
import {
  decodeNameConstraints,
  encodeNameConstraints,
  NAME_CONSTRAINTS_OID,
  type PermittedHost,
  permits,
} from "./name-constraints.ts";

export interface LeafCertificate {
  /** The leaf alone: its issuer is the root that the client trusts. */
  readonly certPem: string;
  /** PKCS#8; the same key for every leaf of this process. */
  readonly keyPem: string;
  readonly notBefore: EpochMs;
  readonly notAfter: EpochMs;
}

export interface CertificateAuthority {
  readonly certificatePem: string;
  /** SHA-256 of the certificate, upper-case hex with colons, as `openssl x509 -fingerprint -sha256` prints it. */
  readonly fingerprint: string;
  readonly notAfter: EpochMs;
  /** Errors: TLS_CA_UNUSABLE outside the CA's own life. */
  check(): void;
  /** A fresh leaf for one host. Errors: TLS_CA_UNUSABLE outside the CA's own life or name constraints. */
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
  /** A new CA may sign for these hosts and what is below them, and for nothing else. Default: for any host. */
  readonly permitted?: readonly PermittedHost[] | undefined;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
export const DEFAULT_CA_DAYS = 365;
/** From its beginning to its end. */
const LEAF_LIFE = DAY;
/** Clients whose clock is behind, by a wrong time zone too, must not see a certificate from the future. */
const LEAF_BACKDATE = HOUR;
/** Longer than a leaf's, so that no leaf begins before its CA. */
const CA_BACKDATE = 2 * HOUR;
const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A CA whose key exists in memory only, for one run. */
export const createCertificateAuthority = async (options: AuthorityOptions): Promise<CertificateAuthority> =>
  createAuthorityFrom(await generateAuthorityKeys(options), options.clock);

/** A new self-signed root: P-256, path length 0, no other use than signing certificates and CRLs. */
export const generateAuthorityKeys = async (options: AuthorityOptions): Promise<AuthorityKeys> => {
  const { clock, days = DEFAULT_CA_DAYS, permitted } = options;
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
      ...(permitted === undefined
        ? []
        : [new x509.Extension(NAME_CONSTRAINTS_OID, true, encodeNameConstraints(permitted))]),
    ],
  });
  return { certificate: new X509Certificate(Buffer.from(certificate.rawData)), privateKey };
};

/** The CA made of checked parts. No certificate library is loaded before the first `issue`. */
export const createAuthorityFrom = (keys: AuthorityKeys, clock: Clock): CertificateAuthority => {
  const { certificate, privateKey } = keys;
  const notBefore = Date.parse(certificate.validFrom);
  const notAfter = Date.parse(certificate.validTo);
  let minter: Promise<Minter> | undefined;

  const check = (): void => {
    const now = clock.now();
    if (now >= notAfter) {
      throw new SidekeyError("TLS_CA_UNUSABLE", {
        detail: `It expired ${certificate.validTo}.`,
        hint: "Make a new one: sidekey ca rotate.",
      });
    }
    if (now < notBefore) {
      throw new SidekeyError("TLS_CA_UNUSABLE", {
        detail: `It is valid from ${certificate.validFrom} only.`,
        hint: "Check the clock of this machine.",
      });
    }
  };

  return {
    certificatePem: certificate.toString(),
    fingerprint: certificate.fingerprint256,
    notAfter,
    check,
    async issue(host) {
      check();
      minter ??= createMinter(certificate, privateKey);
      const begin = clock.now() - LEAF_BACKDATE;
      return (await minter)(host, begin, Math.min(begin + LEAF_LIFE, notAfter));
    },
  };
};

type Minter = (host: Host, notBefore: EpochMs, notAfter: EpochMs) => Promise<LeafCertificate>;

/** Everything that all leaves share is made once here: the leaf key, the issuer's name and the fixed extensions. */
const createMinter = async (certificate: X509Certificate, caKey: KeyObject): Promise<Minter> => {
  const x509 = await loadX509();
  const signingKey = await importSigningKey(caKey);
  const ca = new x509.X509Certificate(certificate.raw);
  const permitted = constraintsIn(ca);
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
    if (Array.isArray(permitted) && !permits(permitted, host)) {
      // A client would refuse it; this way somebody learns why.
      throw new SidekeyError("TLS_CA_UNUSABLE", {
        detail: `It is constrained to other hosts than ${host.name} ('tls.constrain').`,
        hint: "Make one for the hosts of the file, and hand it to the agents: sidekey ca rotate.",
      });
    }
    const name = { type: host.kind === "name" ? "dns" : "ip", value: host.name } as const;
    // A common name holds 64 characters at most; and where names are constrained, OpenSSL takes an address in it for one.
    const hasSubject = host.name.length <= 64 && (permitted === undefined || host.kind === "name");
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: randomSerial(),
      // RFC 5280 section 4.1.2.6: without a subject the SAN must be critical.
      ...(hasSubject ? { subject: [{ CN: [host.name] }] } : {}),
      issuer: ca.subjectName,
      notBefore: new Date(notBefore),
      notAfter: new Date(notAfter),
      publicKey,
      signingKey,
      signingAlgorithm: ECDSA,
      extensions: [...shared, new x509.SubjectAlternativeNameExtension([name], !hasSubject)],
    });
    return { certPem: `${certificate.toString("pem")}\n`, keyPem, notBefore, notAfter };
  };
};

/** Undefined: it has no constraints. `unknown`: some that Sidekey did not write. */
export type Constraints = readonly PermittedHost[] | "unknown" | undefined;

export const constraintsOf = async (certificate: X509Certificate): Promise<Constraints> => {
  const x509 = await loadX509();
  return constraintsIn(new x509.X509Certificate(certificate.raw));
};

const constraintsIn = (certificate: X509.X509Certificate): Constraints => {
  const extension = certificate.getExtension(NAME_CONSTRAINTS_OID);
  if (extension === null) return undefined;
  return decodeNameConstraints(Buffer.from(extension.value)) ?? "unknown";
};

/** The library needs the metadata polyfill to be there before it. */
const loadX509 = async (): Promise<typeof X509> => {
  await import("reflect-metadata");
  return import("@peculiar/x509");
};

const importSigningKey = (key: KeyObject): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey("pkcs8", key.export({ type: "pkcs8", format: "der" }), ECDSA, false, ["sign"]);

/** Of a P-256 key, at the end of its SubjectPublicKeyInfo (RFC 5480 section 2.2): 4, X, Y. `bytes` */
const POINT_BYTES = 65;

/**
 * RFC 7093 section 2, method 1: the leftmost 160 bits of the SHA-256 of the public key's bits. Never by way of a JWK: Node
 * allocates while it holds the key's lock then, and if that collects the job that made the key, which takes the same lock
 * to go, the process stands still for good (seen with Node 20.20).
 */
const keyIdentifier = (publicKey: KeyObject): string => {
  const point = publicKey.export({ type: "spki", format: "der" }).subarray(-POINT_BYTES);
  return createHash("sha256").update(point).digest("hex").slice(0, 40);
};

/** RFC 5280 section 4.1.2.2: positive, at most 20 octets; 126 random bits. */
const randomSerial = (): string => {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial.toString("hex");
};
