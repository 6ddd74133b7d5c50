import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../../src/core/clock.ts";
import { isSidekeyError, SidekeyError } from "../../../../src/core/errors.ts";
import { type AuthoritySource, followAuthority } from "../../../../src/sidecar/tls/authority-source.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../../../src/sidecar/tls/certificate-authority.ts";

let directory: string;
let path: string;
let monotonic: number;
let one: CertificateAuthority;
let two: CertificateAuthority;
/** What the file leads to. */
let found: () => Promise<CertificateAuthority>;
let reads: number;
let told: string[];
let source: AuthoritySource;
const clock = { now: () => Date.now(), monotonic: () => monotonic };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "sidekey-ca-"));
  path = join(directory, "ca.key");
  await writeFile(path, "1");
  monotonic = 0;
  reads = 0;
  told = [];
  [one, two] = await Promise.all([
    createCertificateAuthority({ clock: systemClock }),
    createCertificateAuthority({ clock: systemClock }),
  ]);
  found = async () => one;
  source = await followAuthority({
    path,
    open: () => found(),
    read: () => {
      reads += 1;
      return found();
    },
    clock,
    changed: (outcome) => told.push(isSidekeyError(outcome) ? outcome.code : outcome.fingerprint),
  });
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const replace = async (authority: CertificateAuthority): Promise<void> => {
  found = async () => authority;
  await writeFile(join(directory, "draft"), "2");
  await rename(join(directory, "draft"), path);
};

describe("the CA that follows its file", () => {
  test("is read once, however often it is asked for", async () => {
    for (let turn = 0; turn < 5; turn++) {
      monotonic += 5000;
      expect(source.current()).toBe(one);
      expect(await source.latest()).toBe(one);
    }
    expect(reads).toBe(0);
  });

  test("is another one with the first mint after its file was replaced", async () => {
    await replace(two);
    expect(await source.latest()).toBe(two);
    expect(source.current()).toBe(two);
    expect(told).toEqual([two.fingerprint]);
    expect(reads).toBe(1);
  });

  test("is another one within a second without a mint", async () => {
    await replace(two);
    monotonic = 999;
    expect(source.current()).toBe(one);
    expect(reads).toBe(0);
    monotonic = 1000;
    source.current();
    await source.latest();
    expect(source.current()).toBe(two);
    expect(reads).toBe(1);
  });

  test("is read once for many mints at the same time", async () => {
    await replace(two);
    const all = await Promise.all(Array.from({ length: 10 }, () => source.latest()));
    expect(new Set(all)).toEqual(new Set([two]));
    expect(reads).toBe(1);
  });

  test.each([
    ["gone", () => rm(path)],
    ["damaged", () => writeFile(path, "damaged")],
  ])("mints nothing while its file is %s, says so once, and goes on when it is back", async (_, harm) => {
    found = () => Promise.reject(new SidekeyError("TLS_CA_UNUSABLE", { detail: "no" }));
    await harm();
    for (let turn = 0; turn < 3; turn++) {
      await expect(source.latest()).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE" });
    }
    // What was minted before is used to its end.
    expect(source.current()).toBe(one);
    expect(told).toEqual(["TLS_CA_UNUSABLE"]);
    await replace(one);
    expect(await source.latest()).toBe(one);
    expect(told).toEqual(["TLS_CA_UNUSABLE", one.fingerprint]);
  });

  test("is not told anew when only the file's times or rights changed", async () => {
    await replace(one);
    expect(await source.latest()).toBe(one);
    expect(reads).toBe(1);
    expect(told).toEqual([]);
  });
});
