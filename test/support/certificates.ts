/**
 * A CA and server certificates for test upstreams. It shares no code with the sidecar's own CA, so that a mistake there
 * cannot hide here. Never for anything but tests: lives and names are whatever the test asks for.
 */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";

const DAY = 86_400_000;

export interface TestCertificateRequest {
  /** DNS names, wildcards allowed. */
  readonly names?: readonly string[];
  /** IP addresses, IPv6 without brackets. */
  readonly ips?: readonly string[];
  readonly expired?: boolean;
  readonly notYetValid?: boolean;
  /** Default `p256`; `rsa` takes about 100 ms. */
  readonly key?: "p256" | "rsa";
}

export interface TestCertificate {
  /** PEM. */
  readonly cert: string;
  /** PKCS#8 PEM. */
  readonly key: string;
}

export interface TestAuthority {
  /** PEM, for `ca:` of a client or `upstream.ca`. */
  readonly certificatePem: string;
  issue(request: TestCertificateRequest): Promise<TestCertificate>;
}

const ALGORITHMS = {
  p256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  rsa: {
    name: "RSASSA-PKCS1-v1_5",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: "SHA-256",
  },
} as const;

const generateKeys = async (kind: keyof typeof ALGORITHMS): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(ALGORITHMS[kind], true, ["sign", "verify"]);

const exportPrivateKey = async (key: webcrypto.CryptoKey): Promise<string> =>
  PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), PemConverter.PrivateKeyTag);

/** One self-signed root with a P-256 key. Two authorities never trust each other's certificates. */
export const createTestAuthority = async (name = "Test upstream CA"): Promise<TestAuthority> => {
  const keys = await generateKeys("p256");
  const root = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    signingAlgorithm: ALGORITHMS.p256,
    notBefore: new Date(Date.now() - DAY),
    notAfter: new Date(Date.now() + 30 * DAY),
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });

  return {
    certificatePem: `${root.toString("pem")}\n`,
    async issue({ names = [], ips = [], expired = false, notYetValid = false, key = "p256" }) {
      const leafKeys = await generateKeys(key);
      const middle = Date.now() + (notYetValid ? 3 * DAY : 0) - (expired ? 3 * DAY : 0);
      const leaf = await X509CertificateGenerator.create({
        subject: [{ CN: [names[0] ?? ips[0] ?? "nobody"] }],
        issuer: root.subject,
        publicKey: leafKeys.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: ALGORITHMS.p256,
        notBefore: new Date(middle - DAY),
        notAfter: new Date(middle + DAY),
        extensions: [
          new BasicConstraintsExtension(false),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
          new SubjectAlternativeNameExtension([
            ...names.map((value) => ({ type: "dns" as const, value })),
            ...ips.map((value) => ({ type: "ip" as const, value })),
          ]),
          await AuthorityKeyIdentifierExtension.create(keys.publicKey),
          await SubjectKeyIdentifierExtension.create(leafKeys.publicKey),
        ],
      });
      return { cert: `${leaf.toString("pem")}\n`, key: `${await exportPrivateKey(leafKeys.privateKey)}\n` };
    },
  };
};
