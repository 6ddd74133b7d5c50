/** Certificate chains with one thing wrong, for upstreams that must not be trusted. Shares no code with the sidecar's CA. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

const DAY = 86_400_000;
const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

const rsa = (modulusLength: number) =>
  ({
    name: "RSASSA-PKCS1-v1_5",
    modulusLength,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: "SHA-256",
  }) as const;

const KEYS = { p256: P256, rsa1024: rsa(1024), rsa2048: rsa(2048) } as const;

/** For `usage`: a certificate for clients alone. */
export const CLIENT_USE: string = ExtendedKeyUsage.clientAuth;

export interface Issuer {
  readonly certificate: X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly algorithm: (typeof KEYS)[keyof typeof KEYS];
}

export interface Wanted {
  readonly subject?: string;
  /** Undefined: no subjectAltName at all. */
  readonly names?: readonly JsonGeneralName[] | undefined;
  /** Path length, or true for no limit. */
  readonly ca?: number | true;
  /** Days from now. */
  readonly from?: number;
  readonly to?: number;
  readonly key?: keyof typeof KEYS;
  /** Of the signature. */
  readonly hash?: "SHA-1" | "SHA-256";
  readonly usage?: readonly string[];
  readonly more?: readonly Extension[];
}

/** Signed by itself without an issuer. */
export const issue = async (wanted: Wanted, issuer?: Issuer): Promise<Issuer> => {
  const { subject = "somebody", names, ca, from = -1, to = 1, key = "p256", hash = "SHA-256" } = wanted;
  const algorithm = KEYS[key];
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const extensions: Extension[] = [
    ca === undefined
      ? new BasicConstraintsExtension(false)
      : new BasicConstraintsExtension(true, ca === true ? undefined : ca, true),
    new KeyUsagesExtension(ca === undefined ? KeyUsageFlags.digitalSignature : KeyUsageFlags.keyCertSign, true),
    ...(wanted.more ?? []),
  ];
  if (ca === undefined) {
    extensions.push(new ExtendedKeyUsageExtension([...(wanted.usage ?? [ExtendedKeyUsage.serverAuth])]));
  }
  if (names !== undefined) extensions.push(new SubjectAlternativeNameExtension([...names]));
  const signer = issuer ?? { keys, algorithm };
  const certificate = await X509CertificateGenerator.create({
    subject: [{ CN: [subject] }],
    issuer: issuer?.certificate.subject ?? `CN=${subject}`,
    publicKey: keys.publicKey,
    signingKey: signer.keys.privateKey,
    signingAlgorithm: { ...signer.algorithm, hash },
    notBefore: new Date(Date.now() + from * DAY),
    notAfter: new Date(Date.now() + to * DAY),
    extensions,
  });
  return { certificate, keys, algorithm };
};

/** From PEM, as the sidecar's own CA lies on disk. */
export const readIssuer = async (certificatePem: string, keyPem: string): Promise<Issuer> => {
  const [key] = PemConverter.decode(keyPem);
  if (key === undefined) throw new Error("no key");
  const privateKey = await webcrypto.subtle.importKey("pkcs8", key, P256, true, ["sign"]);
  const certificate = new X509Certificate(certificatePem);
  return { certificate, keys: { privateKey, publicKey: privateKey }, algorithm: P256 };
};

export interface ServerIdentity {
  /** The leaf and what is sent with it. */
  readonly cert: string;
  readonly key: string;
}

export const identityOf = async (leaf: Issuer, ...sent: readonly Issuer[]): Promise<ServerIdentity> => ({
  cert: [leaf, ...sent].map(({ certificate }) => `${certificate.toString("pem")}\n`).join(""),
  key: PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", leaf.keys.privateKey), PemConverter.PrivateKeyTag),
});

/** Critical, of an object identifier that nobody knows. */
export const unknownCritical = (): Extension => new Extension("1.3.6.1.4.1.99999.1", true, new Uint8Array([5, 0]));

/** Critical: only names below `domain` (RFC 5280 section 4.2.1.10). */
export const permittedDomain = (domain: string): Extension => {
  const name = Buffer.from(domain, "latin1");
  const wrap = (tag: number, content: Uint8Array): Buffer => Buffer.from([tag, content.length, ...content]);
  // NameConstraints { permittedSubtrees [0] { GeneralSubtree { base dNSName [2] } } }
  const value = wrap(0x30, wrap(0xa0, wrap(0x30, wrap(0x82, name))));
  return new Extension("2.5.29.30", true, value);
};
