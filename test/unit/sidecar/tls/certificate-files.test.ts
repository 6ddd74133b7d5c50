import { X509Certificate } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../../src/core/clock.ts";
import { isSidekeyError } from "../../../../src/core/errors.ts";
import { certificatesIn } from "../../../../src/sidecar/tls/bundle.ts";
import { openAuthorityFiles, readAuthority } from "../../../../src/sidecar/tls/certificate-files.ts";

const DAY = 86_400_000;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "sidekey-ca-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const open = async (clock = systemClock) => (await openAuthorityFiles({ directory, clock })).authority;
const trusted = async (): Promise<readonly X509Certificate[]> =>
  certificatesIn(await readFile(at("ca.pem"), "utf8")).map((pem) => new X509Certificate(pem));
const at = (name: string): string => join(directory, name);
const modeOf = async (name: string): Promise<number> => (await stat(at(name))).mode & 0o777;

/** The detail of the refusal; both files must be as they were before it. */
const refusal = async (clock = systemClock): Promise<string> => {
  const before = await snapshot();
  const error = await open(clock).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(await snapshot()).toEqual(before);
  if (!isSidekeyError(error)) throw new TypeError(`not refused: ${String(error)}`);
  expect(error.code).toBe("TLS_CA_UNUSABLE");
  return error.detail ?? "";
};

const snapshot = async (): Promise<Record<string, string>> => {
  const entries = await Promise.all(
    (await readdir(directory)).map(async (name) => [name, await readFile(at(name), "utf8").catch(String)] as const),
  );
  return Object.fromEntries(entries);
};

describe("the CA of a state directory", () => {
  test("is made on first use, its key for the owner alone, and is the same one afterwards", async () => {
    const first = await open();
    expect((await readdir(directory)).sort()).toEqual(["ca-next.key", "ca.key", "ca.pem"]);
    expect(await modeOf("ca.key")).toBe(0o600);
    expect(await modeOf("ca.pem")).toBe(0o644);
    expect(await modeOf("ca-next.key")).toBe(0o600);
    const second = await open();
    expect(second.fingerprint).toBe(first.fingerprint);
    const { certPem, keyPem } = await second.issue({ kind: "name", name: "a.test" });
    expect(new X509Certificate(certPem).checkIssued(new X509Certificate(first.certificatePem))).toBe(true);
    expect(() => createSecureContext({ cert: certPem, key: keyPem })).not.toThrow();
  });

  test("keeps its modes under any umask, and makes the directory for the owner alone", async () => {
    const umask = process.umask(0o077);
    try {
      directory = join(directory, "state");
      await open();
    } finally {
      process.umask(umask);
    }
    expect(await modeOf("ca.pem")).toBe(0o644);
    expect(await modeOf("ca.key")).toBe(0o600);
    expect(await modeOf(".")).toBe(0o700);
  });

  test("is one and the same for several processes that start at once", async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => open()));
    expect(new Set(all.map((authority) => authority.fingerprint)).size).toBe(1);
    expect((await readdir(directory)).sort()).toEqual(["ca-next.key", "ca.key", "ca.pem"]);
  });

  test("survives a process that was killed between its two files", async () => {
    const first = await open();
    await rm(at("ca.pem"));
    expect((await open()).fingerprint).toBe(first.fingerprint);
    expect((await trusted())[0]?.toString()).toBe(first.certificatePem);
    expect(await trusted()).toHaveLength(2);
  });

  test("has the next one made ahead, trusted already, and lasting a whole life longer", async () => {
    const { authority, next } = await openAuthorityFiles({ directory, clock: systemClock, days: 100 });
    const [current, following, ...rest] = await trusted();
    expect(rest).toEqual([]);
    expect(current?.fingerprint256).toBe(authority.fingerprint);
    expect(following?.fingerprint256).toBe(next?.fingerprint256);
    expect(following?.subject).not.toBe(current?.subject);
    expect(Date.parse(following?.validTo ?? "") - authority.notAfter).toBeCloseTo(100 * DAY, -4);
  });

  test("brings ca.pem up to date when a rotation was cut short behind its last step", async () => {
    await open();
    const [, next] = await trusted();
    await rename(at("ca-next.key"), at("ca.key"));
    expect((await readAuthority({ directory, clock: systemClock })).fingerprint).toBe(next?.fingerprint256);
    expect((await open()).fingerprint).toBe(next?.fingerprint256);
    const [current, another] = await trusted();
    expect(current?.fingerprint256).toBe(next?.fingerprint256);
    expect(another?.fingerprint256).not.toBe(next?.fingerprint256);
  });

  test("takes a CA of the operator's own: a bare key, its certificate in ca.pem", async () => {
    const { certificatePem, fingerprint } = await open();
    const text = await readFile(at("ca.key"), "utf8");
    await writeFile(at("ca.key"), text.slice(0, text.indexOf("-----BEGIN CERTIFICATE")));
    await writeFile(at("ca.pem"), certificatePem);
    expect((await open()).fingerprint).toBe(fingerprint);
  });

  test("replaces a next one that has expired: nobody could use it", async () => {
    const then = Date.now();
    const { next } = await openAuthorityFiles({ directory, clock: systemClock, days: 1 });
    await rm(at("ca.key"));
    await rm(at("ca.pem"));
    const clock = { ...systemClock, now: () => then + 3 * DAY };
    const later = await openAuthorityFiles({ directory, clock });
    expect(later.next?.fingerprint256).not.toBe(next?.fingerprint256);
    expect(later.nextProblem).toBeUndefined();
    expect(later.isNextReplaced).toBe(true);
  });

  test("leaves everything as it is when the one that signs is not accepted", async () => {
    await open();
    const before = await snapshot();
    const permitted = [{ kind: "name", name: "a.test" }] as const;
    const accept = () => Promise.reject(new Error("not this one"));
    await expect(openAuthorityFiles({ directory, clock: systemClock, permitted, accept })).rejects.toThrow(
      "not this one",
    );
    expect(await snapshot()).toEqual(before);
  });

  test.each([
    ["damaged", (path: string) => writeFile(path, "canary-key-material"), "holds no certificate"],
    ["open to others", (path: string) => chmod(path, 0o644), "open to other users"],
  ])("signs on while the next one is %s, and says what is wrong", async (_, harm, detail) => {
    const { authority } = await openAuthorityFiles({ directory, clock: systemClock });
    await harm(at("ca-next.key"));
    const again = await openAuthorityFiles({ directory, clock: systemClock });
    expect(again.authority.fingerprint).toBe(authority.fingerprint);
    expect(again.next).toBeUndefined();
    expect(again.nextProblem?.code).toBe("TLS_CA_UNUSABLE");
    expect(again.nextProblem?.detail).toContain(detail);
    expect(again.nextProblem?.detail).not.toContain("canary");
  });
});

describe("a CA that cannot be used is refused, and never replaced", () => {
  test.each([0o640, 0o604, 0o620, 0o666])("when others may use the key file (mode %o)", async (mode) => {
    await open();
    await chmod(at("ca.key"), mode);
    expect(await refusal()).toContain(`open to other users (mode ${mode.toString(8)})`);
  });

  test("when the key is missing beside the certificate", async () => {
    await open();
    await rm(at("ca.key"));
    expect(await refusal()).toContain("ca.key is missing");
  });

  test("when the key file is damaged, without a word of what is in it", async () => {
    await open();
    await writeFile(at("ca.key"), "canary-key-material");
    const detail = await refusal();
    expect(detail).toContain("holds no private key");
    expect(detail).not.toContain("canary");
  });

  test("when a plain key stands there without any certificate", async () => {
    await open();
    const text = await readFile(at("ca.key"), "utf8");
    await rm(at("ca-next.key"));
    await rm(at("ca.pem"));
    await writeFile(at("ca.key"), text.slice(0, text.indexOf("-----BEGIN CERTIFICATE")));
    expect(await refusal()).toContain("holds no certificate");
  });

  test("when the certificate is damaged, cut or empty", async () => {
    const { certificatePem } = await open();
    for (const text of ["", "garbage", certificatePem.slice(0, 200)]) {
      await writeFile(at("ca.pem"), text);
      expect(await refusal()).toContain("ca.pem holds no certificate");
    }
  });

  test("when certificate and key are not a pair", async () => {
    await open();
    const elsewhere = await openAuthorityFiles({ directory: at("other"), clock: systemClock });
    await rm(at("other"), { recursive: true });
    await writeFile(at("ca.pem"), elsewhere.trustedPem);
    expect(await refusal()).toContain("does not belong");
  });

  test("when it has expired, or is not valid yet", async () => {
    const { notAfter } = await open();
    expect(await refusal({ ...systemClock, now: () => notAfter })).toContain("expired");
    expect(await refusal({ ...systemClock, now: () => Date.now() - 2 * DAY })).toContain("is valid from");
  });

  test("when a file is there but is no file, or too large", async () => {
    await mkdir(at("ca.key"));
    expect(await refusal()).toContain("ca.key is not a regular file");
    await rm(at("ca.key"), { recursive: true });
    await writeFile(at("ca.key"), "x".repeat(1_100_000), { mode: 0o600 });
    expect(await refusal()).toContain("too large");
  });

  test("when a file cannot be read, which is not the same as absent", async () => {
    await symlink("ca.key", at("ca.key"));
    expect(await refusal()).toContain("cannot be read (ELOOP)");
  });

  test("when the directory cannot be made", async () => {
    await writeFile(at("file"), "");
    directory = at("file");
    await expect(open()).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE" });
  });
});
