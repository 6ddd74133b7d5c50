import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createBundle } from "../../../../src/sidecar/tls/bundle.ts";
import { createTestAuthority } from "../../../support/certificates.ts";

let directory: string;
let ours: string;
let system: string;
let callers: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sidekey-bundle-"));
  [ours, system, callers] = (await Promise.all(["ours", "system", "callers"].map(createTestAuthority))).map(
    (authority) => authority.certificatePem,
  ) as [string, string, string];
});
afterAll(() => rm(directory, { recursive: true }));

const file = async (name: string, text: string): Promise<string> => {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
};

describe("the trust bundle", () => {
  test("holds our CA first, then the first system bundle that is there, then the caller's own", async () => {
    const systemBundles = [
      join(directory, "absent.pem"),
      directory,
      await file("empty.pem", "# nothing\n"),
      await file("system.pem", `# a comment\n${system}`),
      await file("later.pem", callers),
    ];
    const bundle = await createBundle({ certificatePem: ours, systemBundles });
    expect(bundle).toBe(ours + system);
    expect(await createBundle({ certificatePem: ours, systemBundles, extra: [callers] })).toBe(ours + system + callers);
  });

  test("holds each certificate once, also when line ends differ", async () => {
    const systemBundles = [await file("twice.pem", `${system}${ours}${system.replaceAll("\n", "\r\n")}`)];
    expect(await createBundle({ certificatePem: ours, systemBundles, extra: [system] })).toBe(ours + system);
  });

  test("falls back to Node's own list", async () => {
    const bundle = await createBundle({ certificatePem: ours, systemBundles: [] });
    expect(bundle.match(/BEGIN CERTIFICATE/g)).toHaveLength(rootCertificates.length + 1);
  });

  test("never copies anything but certificates", async () => {
    const { key, cert } = await (await createTestAuthority()).issue({ names: ["a.test"] });
    const bundle = await createBundle({ certificatePem: ours, systemBundles: [await file("mixed.pem", key + cert)] });
    expect(bundle).toBe(ours + cert);
  });
});
