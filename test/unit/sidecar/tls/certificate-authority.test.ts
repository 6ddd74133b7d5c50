import { execFile } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { type Host, parseHost } from "../../../../src/core/authority.ts";
import { type Clock, systemClock } from "../../../../src/core/clock.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../../../src/sidecar/tls/certificate-authority.ts";
import { dial, serveContext } from "./handshake.ts";

const run = promisify(execFile);
const DAY = 86_400_000;

const host = (text: string): Host => {
  const parsed = parseHost(text);
  if (parsed === undefined) throw new TypeError(`no host: ${text}`);
  return parsed;
};

let authority: CertificateAuthority;
beforeAll(async () => {
  authority = await createCertificateAuthority({ clock: systemClock });
});

const hasOpenssl = async (): Promise<boolean> =>
  run("openssl", ["version"]).then(
    () => true,
    () => false,
  );

/** What openssl prints about a certificate. */
const describeCertificate = async (pem: string): Promise<string> => {
  const child = run("openssl", ["x509", "-noout", "-text"]);
  child.child.stdin?.end(pem);
  return (await child).stdout;
};

const trust = async (name: string, certificateFor: string): Promise<string> => {
  const { certPem, keyPem } = await authority.issue(host(certificateFor));
  const server = await serveContext(() => createSecureContext({ cert: certPem, key: keyPem }));
  try {
    // Without a server name Node checks the address it dialled: 127.0.0.1.
    const servername = host(name).kind === "name" ? { servername: name } : {};
    const socket = await dial(server.port, { ca: authority.certificatePem, ...servername });
    socket.destroy();
    return "trusted";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    await server.close();
  }
};

describe("the CA", () => {
  test("is a P-256 root that may sign certificates and nothing else, for one year", () => {
    const certificate = new X509Certificate(authority.certificatePem);
    expect(certificate.ca).toBe(true);
    expect(certificate.subject).toMatch(/^CN=Sidekey CA [0-9a-f]{8}$/);
    expect(certificate.issuer).toBe(certificate.subject);
    expect(certificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(authority.fingerprint).toBe(certificate.fingerprint256);
    expect(authority.notAfter).toBe(Date.parse(certificate.validTo));
    expect(authority.notAfter - Date.now()).toBeGreaterThan(364 * DAY);
    expect(authority.notAfter - Date.now()).toBeLessThanOrEqual(365 * DAY);
  });

  test("lives as many days as asked for", async () => {
    const short = await createCertificateAuthority({ clock: systemClock, days: 2 });
    expect(short.notAfter - Date.now()).toBeGreaterThan(DAY);
    expect(short.notAfter - Date.now()).toBeLessThanOrEqual(2 * DAY);
  });

  test("differs from one made at the same moment in key, serial number and name", async () => {
    const other = await createCertificateAuthority({ clock: systemClock });
    const [a, b] = [new X509Certificate(authority.certificatePem), new X509Certificate(other.certificatePem)];
    expect(b.serialNumber).not.toBe(a.serialNumber);
    expect(b.subject).not.toBe(a.subject);
    expect(b.checkIssued(a)).toBe(false);
  });

  test("marks path length 0 and its key usage as critical", async () => {
    if (!(await hasOpenssl())) return expect(new X509Certificate(authority.certificatePem).ca).toBe(true);
    const text = await describeCertificate(authority.certificatePem);
    expect(text).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    expect(text).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  });

  test("refuses to sign once it has expired", async () => {
    let now = 1_700_000_000_000;
    const clock: Clock = { now: () => now, monotonic: () => 0 };
    const old = await createCertificateAuthority({ clock, days: 1 });
    now += DAY + 1000;
    await expect(old.issue(host("a.test"))).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE" });
  });

  test("refuses to sign while the clock stands before its own beginning", async () => {
    let now = 1_700_000_000_000;
    const young = await createCertificateAuthority({ clock: { now: () => now, monotonic: () => 0 }, days: 1 });
    now -= DAY;
    const refusal = { code: "TLS_CA_UNUSABLE", hint: "Check the clock of this machine." };
    await expect(young.issue(host("a.test"))).rejects.toMatchObject(refusal);
  });
});

describe("a leaf", () => {
  test("names exactly its host, for server use, for 24 hours, begun an hour ago for clocks that are behind", async () => {
    const now = 1_800_000_000_000;
    const fixed = await createCertificateAuthority({ clock: { now: () => now, monotonic: () => 0 } });
    const { certPem, notBefore, notAfter } = await fixed.issue(host("api.example.test"));
    const leaf = new X509Certificate(certPem);
    expect(leaf.subjectAltName).toBe("DNS:api.example.test");
    expect(leaf.ca).toBe(false);
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(Date.parse(leaf.validFrom)).toBe(now - 3_600_000);
    expect(Date.parse(leaf.validTo)).toBe(now - 3_600_000 + DAY);
    expect([notBefore, notAfter]).toEqual([now - 3_600_000, now - 3_600_000 + DAY]);
    expect(leaf.verify(new X509Certificate(fixed.certificatePem).publicKey)).toBe(true);
    expect(leaf.checkIssued(new X509Certificate(fixed.certificatePem))).toBe(true);
  });

  test("never outlives its CA", async () => {
    const now = 1_800_000_000_000;
    let elapsed = 0;
    const short = await createCertificateAuthority({
      clock: { now: () => now + elapsed, monotonic: () => 0 },
      days: 1,
    });
    elapsed = DAY / 2;
    expect((await short.issue(host("a.test"))).notAfter).toBe(short.notAfter);
  });

  test("shares one key with the others, but no serial number", async () => {
    const [a, b] = await Promise.all([authority.issue(host("a.test")), authority.issue(host("a.test"))]);
    expect(b.keyPem).toBe(a.keyPem);
    expect(new X509Certificate(b.certPem).serialNumber).not.toBe(new X509Certificate(a.certPem).serialNumber);
  });

  test.each(["api.example.test", "127.0.0.1", `${"a".repeat(60)}.${"b".repeat(60)}.test`])(
    "for %s is trusted for it and for nothing else",
    async (name) => {
      expect(await trust(name, name)).toBe("trusted");
      expect(await trust("other.test", name)).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    },
  );

  test("for an IPv6 address holds the address as such", async () => {
    const leaf = new X509Certificate((await authority.issue(host("[2001:db8::1]"))).certPem);
    expect(leaf.subjectAltName).toBe("IP Address:2001:DB8:0:0:0:0:0:1");
    expect(leaf.checkIP("2001:db8::1")).toBe("2001:db8::1");
  });

  test("does not lead to a third certificate: its own signature is worth nothing as a CA", async () => {
    const { certPem } = await authority.issue(host("a.test"));
    expect(new X509Certificate(certPem).ca).toBe(false);
    expect(certPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(1);
  });

  test("passes openssl's strict checks for a server of that name", async () => {
    const { certPem } = await authority.issue(host("api.example.test"));
    if (!(await hasOpenssl())) return expect(certPem).toContain("BEGIN CERTIFICATE");
    const directory = await mkdtemp(join(tmpdir(), "sidekey-ca-"));
    try {
      const [ca, leaf] = [join(directory, "ca.pem"), join(directory, "leaf.pem")];
      await Promise.all([writeFile(ca, authority.certificatePem), writeFile(leaf, certPem)]);
      const check = (name: string) =>
        run("openssl", [
          "verify",
          "-x509_strict",
          "-purpose",
          "sslserver",
          "-CAfile",
          ca,
          "-verify_hostname",
          name,
          leaf,
        ]);
      expect((await check("api.example.test")).stdout).toBe(`${leaf}: OK\n`);
      await expect(check("other.test")).rejects.toMatchObject({ code: 2 });
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

test("exports no key as JWK right after making it: in Node 20 a collection in that moment locks the process up", async () => {
  const keys = Object.getPrototypeOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey) as {
    export(options: { format: string }): unknown;
  };
  const exported = vi.spyOn(keys, "export");
  try {
    await createCertificateAuthority({ clock: systemClock });
    const formats = exported.mock.calls.map(([{ format }]) => format);
    expect(new Set(formats)).toEqual(new Set(["der"]));
  } finally {
    exported.mockRestore();
  }
});
