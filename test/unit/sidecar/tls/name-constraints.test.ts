import { execFile } from "node:child_process";
import { webcrypto, X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Host, parseHost } from "../../../../src/core/authority.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import {
  type AuthorityKeys,
  createAuthorityFrom,
  createCertificateAuthority,
  generateAuthorityKeys,
} from "../../../../src/sidecar/tls/certificate-authority.ts";
import { decodeNameConstraints, encodeNameConstraints, permits } from "../../../../src/sidecar/tls/name-constraints.ts";

const run = promisify(execFile);

const host = (text: string): Host => {
  const parsed = parseHost(text);
  if (parsed === undefined) throw new TypeError(`no host: ${text}`);
  return parsed;
};
const hosts = (...texts: readonly string[]): readonly Host[] => texts.map(host);

describe("name constraints", () => {
  test.each([
    ["nothing", []],
    ["one name", ["api.example.test"]],
    ["names and addresses", ["a.test", "b_1.test", "10.1.2.3", "[2001:db8::1]", "[::1]"]],
    [
      "more than 65,535 bytes of names",
      Array.from({ length: 2000 }, (_, i) => `host-${i}.of-a-long-name.example.test`),
    ],
  ])("of %s are read back as they were written, in any order", (_, texts) => {
    const der = encodeNameConstraints(hosts(...texts));
    expect(encodeNameConstraints(hosts(...[...texts].reverse(), ...texts)).equals(der)).toBe(true);
    const read = decodeNameConstraints(der) ?? [];
    expect(new Set(read.map(({ kind, name }) => `${kind} ${name}`))).toEqual(
      new Set(hosts(...texts).map(({ kind, name }) => `${kind} ${name}`)),
    );
  });

  test("that Sidekey did not write are not guessed at", () => {
    const der = encodeNameConstraints(hosts("a.test", "10.1.2.3"));
    for (let cut = 0; cut < der.length; cut++) expect(decodeNameConstraints(der.subarray(0, cut))).toBeUndefined();
    for (let at = 0; at < der.length; at++) {
      const changed = Buffer.from(der);
      changed[at] = (changed[at] ?? 0) ^ 0x80;
      expect(() => decodeNameConstraints(changed)).not.toThrow();
    }
    expect(decodeNameConstraints(Buffer.concat([der, der]))).toBeUndefined();
    expect(decodeNameConstraints(Buffer.from("308000", "hex"))).toBeUndefined();
  });
});

/** What a thief of the key would make of the CA for himself: same key, same name. */
const withoutConstraints = async ({ certificate, privateKey }: AuthorityKeys): Promise<X509Certificate> => {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const der = privateKey.export({ type: "pkcs8", format: "der" });
  const name = new x509.X509Certificate(certificate.raw).subjectName;
  const made = await x509.X509CertificateGenerator.create({
    subject: name,
    issuer: name,
    notBefore: new Date(certificate.validFrom),
    notAfter: new Date(certificate.validTo),
    publicKey: certificate.publicKey.export({ type: "spki", format: "der" }),
    signingKey: await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]),
    signingAlgorithm: algorithm,
  });
  return new X509Certificate(Buffer.from(made.rawData));
};

describe("a constrained CA", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "sidekey-constrained-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  /** What openssl says to a leaf for `name`; one that the CA refuses is made by a thief of its key. */
  const verdict = async (permitted: readonly Host[], name: string): Promise<string> => {
    const keys = await generateAuthorityKeys({ clock: systemClock, permitted });
    const thief = createAuthorityFrom({ ...keys, certificate: await withoutConstraints(keys) }, systemClock);
    const isOurs = permits(permitted, host(name));
    const { certPem } = await (isOurs ? createAuthorityFrom(keys, systemClock) : thief).issue(host(name));
    const [ca, leaf] = [join(directory, "ca.pem"), join(directory, "leaf.pem")];
    await Promise.all([writeFile(ca, keys.certificate.toString()), writeFile(leaf, certPem)]);
    const check = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca, leaf];
    return run("openssl", check).then(
      ({ stdout }) => stdout.trim().replace(leaf, "leaf"),
      (error: { stderr: string }) => /error \d+ at[^:]*: *(.*)/.exec(error.stderr)?.[1] ?? error.stderr,
    );
  };

  test.each([
    [["a.test"], "a.test", "leaf: OK"],
    [["a.test"], "deep.a.test", "leaf: OK"],
    [["a.test"], "b.test", "permitted subtree violation"],
    [["a.test"], "nota.test", "permitted subtree violation"],
    [["a.test"], "127.0.0.1", "excluded subtree violation"],
    [["a.test"], "[::1]", "excluded subtree violation"],
    [["127.0.0.1"], "127.0.0.1", "leaf: OK"],
    [["127.0.0.1"], "127.0.0.2", "permitted subtree violation"],
    [["127.0.0.1"], "[::1]", "permitted subtree violation"],
    [["127.0.0.1"], "a.test", "excluded subtree violation"],
    [["a.test", "[2001:db8::1]"], "[2001:db8::1]", "leaf: OK"],
    [[], "a.test", "excluded subtree violation"],
  ])("for %j, and a leaf for %s: %s", async (permitted, name, expected) => {
    expect(await verdict(hosts(...permitted), name)).toBe(expected);
  });

  test("marks them critical, and refuses by itself what its clients would refuse", async () => {
    const authority = await createCertificateAuthority({ clock: systemClock, permitted: hosts("a.test", "10.1.2.3") });
    const path = join(directory, "own.pem");
    await writeFile(path, authority.certificatePem);
    const { stdout } = await run("openssl", ["x509", "-noout", "-text", "-in", path]);
    expect(stdout).toMatch(
      /Name Constraints: critical\s+Permitted:\s+(DNS:a\.test\s+IP:10\.1\.2\.3\/255\.255\.255\.255|IP:10\.1\.2\.3\/255\.255\.255\.255\s+DNS:a\.test)/,
    );
    await expect(authority.issue(host("x.a.test"))).resolves.toBeDefined();
    await expect(authority.issue(host("10.1.2.3"))).resolves.toBeDefined();
    for (const other of ["b.test", "10.1.2.4", "[::1]"]) {
      await expect(authority.issue(host(other))).rejects.toMatchObject({
        code: "TLS_CA_UNUSABLE",
        detail: expect.stringContaining("constrained to other hosts"),
      });
    }
  });
});
