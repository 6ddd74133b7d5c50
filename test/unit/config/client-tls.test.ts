/** The files that a vault is connected with: what is good of them, and what is said of the others. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readClientTls, stampOfFiles } from "../../../src/config/client-tls.ts";
import { createTestAuthority, type TestCertificate } from "../../support/certificates.ts";

const directory = mkdtempSync(join(tmpdir(), "sidekey-client-tls-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const at = (name: string): string => join(directory, name);
const put = (name: string, text: string, mode = 0o600): string => {
  writeFileSync(at(name), text);
  chmodSync(at(name), mode);
  return at(name);
};

let ca: string;
let own: TestCertificate;
let other: TestCertificate;
beforeAll(async () => {
  const authority = await createTestAuthority();
  ca = authority.certificatePem;
  own = await authority.issue({ names: ["client"] });
  other = await authority.issue({ names: ["client"] });
});

const faultsOf = (files: Parameters<typeof readClientTls>[0]) =>
  readClientTls(files).faults.map(({ key, path, reason }) => `${key} ${path.replace(directory, "")} ${reason}`);

describe("the files for a vault", () => {
  it("are read as they are where they are good, and none is none", () => {
    const files = { ca: put("ca.pem", ca, 0o644), cert: put("c.pem", own.cert, 0o644), certKey: put("k.pem", own.key) };
    expect(readClientTls(files)).toEqual({
      tls: { ca, certificate: { cert: own.cert, key: own.key } },
      faults: [],
    });
    expect(readClientTls({})).toEqual({ tls: {}, faults: [] });
  });

  it("are each told when they are not there, no file, too large, or hold something else", () => {
    mkdirSync(at("folder"));
    const cert = put("good.pem", own.cert);
    expect(faultsOf({ ca: at("none"), cert, certKey: at("folder") })).toEqual([
      "ca /none cannot be read (ENOENT)",
      "cert_key /folder is no plain file",
    ]);
    expect(
      faultsOf({ ca: put("long", "x".repeat(2 ** 20 + 1)), cert: put("k", own.key), certKey: put("c", own.cert) }),
    ).toEqual([
      "ca /long is far too large",
      "cert /k holds no certificate in PEM",
      "cert_key /c holds no private key in PEM",
    ]);
    const locked = put("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    expect(faultsOf({ cert, certKey: locked })).toEqual(["cert_key /locked is locked with a passphrase"]);
  });

  it("must belong together", () => {
    const cert = put("one.pem", own.cert);
    expect(faultsOf({ cert, certKey: put("two.key", other.key) })[0]).toMatch(
      /^cert_key \/two\.key is not the key of the first certificate in .*one\.pem$/,
    );
    const damaged = put("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    const [fault = ""] = faultsOf({ cert: damaged, certKey: put("own.key", own.key) });
    expect(fault).toMatch(/^cert_key \/own\.key or .*bad\.pem is damaged$/);
    expect(readClientTls({ cert, certKey: at("two.key") }).tls).toEqual({});
  });

  it("are refused where others can read the key, and not for who can read the rest", () => {
    const cert = put("open.pem", own.cert, 0o644);
    for (const mode of [0o640, 0o604, 0o660]) {
      const { faults } = readClientTls({ cert, certKey: put("open.key", own.key, mode) });
      expect(faults.map(({ reason, hint }) => [reason, hint])).toEqual([
        [`is open to other users (mode 0${mode.toString(8)})`, expect.stringContaining(`chmod 600 ${at("open.key")}`)],
      ]);
    }
    expect(faultsOf({ cert, certKey: put("open.key", own.key, 0o400) })).toEqual([]);
  });

  it("are told apart from what they were", () => {
    const paths = [put("a", "1"), at("later")];
    const before = stampOfFiles(paths);
    expect(stampOfFiles(paths)).toBe(before);
    put("later", "2");
    expect(stampOfFiles(paths)).not.toBe(before);
  });
});
