import { X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../../src/core/clock.ts";
import { certificatesIn } from "../../../../src/sidecar/tls/bundle.ts";
import {
  type AuthorityFiles,
  openAuthorityFiles,
  readAuthority,
} from "../../../../src/sidecar/tls/certificate-files.ts";
import { OVERLAP_MS } from "../../../../src/sidecar/tls/retired.ts";
import { rotateAuthority } from "../../../../src/sidecar/tls/rotation.ts";

const DAY = 86_400_000;
let directory: string;
let now: number;
const clock = { now: () => now, monotonic: () => 0 };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "sidekey-ca-"));
  now = Date.now();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const at = (name: string): string => join(directory, name);
const open = (): Promise<AuthorityFiles> => openAuthorityFiles({ directory, clock });
const rotate = (permitted?: Parameters<typeof rotateAuthority>[0]["permitted"]) =>
  rotateAuthority({ directory, clock, permitted });
const trusted = async (): Promise<readonly string[]> =>
  certificatesIn(await readFile(at("ca.pem"), "utf8")).map((pem) => new X509Certificate(pem).fingerprint256);

describe("a rotation of the CA", () => {
  test("lets the next one sign, makes another, and keeps the one before trusted for two days", async () => {
    const before = await open();
    const rotation = await rotate();
    expect(rotation.current.fingerprint256).toBe(before.next?.fingerprint256);
    expect(rotation.previous.fingerprint256).toBe(before.authority.fingerprint);
    expect(rotation.wasTrusted).toBe(true);
    const [current, next] = [rotation.current.fingerprint256, rotation.next.fingerprint256];
    expect(await trusted()).toEqual([current, next, before.authority.fingerprint]);
    const after = await open();
    expect([after.authority.fingerprint, after.next?.fingerprint256]).toEqual([current, next]);
    expect(await trusted()).toEqual([current, next, before.authority.fingerprint]);
    now += OVERLAP_MS;
    await open();
    expect(await trusted()).toEqual([current, next]);
  });

  test("leaves keys for the owner alone, and no drafts or locks", async () => {
    await open();
    await rotate();
    expect((await readdir(directory)).sort()).toEqual(["ca-next.key", "ca-old.pem", "ca.key", "ca.pem"]);
    const modes = await Promise.all(
      ["ca.key", "ca-next.key", "ca.pem", "ca-old.pem"].map(async (name) => (await stat(at(name))).mode & 0o777),
    );
    expect(modes).toEqual([0o600, 0o600, 0o644, 0o644]);
    expect(await readFile(at("ca.pem"), "utf8")).not.toContain("PRIVATE");
    expect(await readFile(at("ca-old.pem"), "utf8")).not.toContain("PRIVATE");
  });

  test("keeps all that were retired in the last two days", async () => {
    const first = await open();
    await rotate();
    now += DAY;
    const second = await rotate();
    expect(await trusted()).toHaveLength(4);
    expect(await trusted()).toContain(first.authority.fingerprint);
    now += DAY;
    await rotate();
    expect(await trusted()).not.toContain(first.authority.fingerprint);
    expect(await trusted()).toContain(second.previous.fingerprint256);
  });

  test("is the way out when the CA has expired, and agents know the next one already", async () => {
    await openAuthorityFiles({ directory, clock, days: 1 });
    now += DAY + 1000;
    await expect(open()).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE", hint: expect.stringContaining("ca rotate") });
    expect((await rotate()).wasTrusted).toBe(true);
    expect((await open()).authority.notAfter).toBeGreaterThan(now);
  });

  test("says when agents cannot know the one that signs: both had expired", async () => {
    await openAuthorityFiles({ directory, clock, days: 1 });
    now += 3 * DAY;
    const rotation = await rotate();
    expect(rotation.wasTrusted).toBe(false);
    expect((await open()).authority.fingerprint).toBe(rotation.current.fingerprint256);
  });

  test.each([
    ["damaged", (path: string) => writeFile(path, "canary-key-material")],
    ["open to others", (path: string) => chmod(path, 0o644)],
    ["gone", (path: string) => rm(path)],
  ])("never lets a next one sign that is %s", async (_, harm) => {
    const before = await open();
    await harm(at("ca-next.key"));
    const rotation = await rotate();
    expect(rotation.wasTrusted).toBe(false);
    expect(rotation.current.fingerprint256).not.toBe(before.next?.fingerprint256);
    expect((await open()).nextProblem).toBeUndefined();
  });

  test("refuses one CA that is damaged or exposed, and changes nothing", async () => {
    await open();
    await chmod(at("ca.key"), 0o640);
    const before = await trusted();
    await expect(rotate()).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE" });
    expect(await trusted()).toEqual(before);
    expect((await readdir(directory)).sort()).toEqual(["ca-next.key", "ca.key", "ca.pem"]);
  });

  test("says that there is none to rotate", async () => {
    await expect(rotate()).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE", detail: /There is none yet/ });
    expect(await readdir(directory)).toEqual([]);
    directory = at("absent");
    await expect(rotate()).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE", detail: /There is none yet/ });
  });

  test("has one at a time, and every one of them leaves a CA that opens", async () => {
    await open();
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => rotate()));
    const done = outcomes.filter(({ status }) => status === "fulfilled");
    expect(done.length).toBeGreaterThan(0);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason.detail).toMatch(/Another rotation is under way/);
    }
    const { authority, next } = await open();
    expect((await trusted()).slice(0, 2)).toEqual([authority.fingerprint, next?.fingerprint256]);
  });

  test("is seen whole by whoever reads at any moment of it", async () => {
    await open();
    let done = false;
    const reading = (async () => {
      let reads = 0;
      while (!done) {
        const authority = await readAuthority({ directory, clock: systemClock });
        expect(await readFile(at("ca.pem"), "utf8")).toContain("BEGIN CERTIFICATE");
        await authority.issue({ kind: "name", name: "a.test" });
        reads += 1;
      }
      return reads;
    })();
    for (let turn = 0; turn < 10; turn++) await rotateAuthority({ directory, clock: systemClock });
    done = true;
    expect(await reading).toBeGreaterThan(0);
  });

  test("has put the next one into ca.pem before it signs, for one that is cut short between", async () => {
    const { next } = await open();
    const [own] = certificatesIn(await readFile(at("ca.pem"), "utf8"));
    await writeFile(at("ca.pem"), `${own}\n`);
    // Right behind the step in which the next one becomes the one that signs.
    const cut = (): number => {
      if (!existsSync(at("ca-next.key"))) throw new Error("cut short");
      return now;
    };
    await expect(rotateAuthority({ directory, clock: { ...clock, now: cut } })).rejects.toThrow("cut short");
    expect((await readAuthority({ directory, clock })).fingerprint).toBe(next?.fingerprint256);
    expect((await open()).authority.fingerprint).toBe(next?.fingerprint256);
  });

  test("to one that has expired is told to a sidecar that runs", async () => {
    await openAuthorityFiles({ directory, clock, days: 1 });
    now += DAY + 1000;
    await expect(readAuthority({ directory, clock })).rejects.toMatchObject({ detail: /expired/ });
  });

  test("leaves the constraints that the file asks for, and says that agents must be told", async () => {
    await open();
    const rotation = await rotate([{ kind: "name", name: "a.test" }]);
    expect(rotation.wasTrusted).toBe(false);
    const { authority } = await openAuthorityFiles({ directory, clock, permitted: [{ kind: "name", name: "a.test" }] });
    expect(authority.fingerprint).toBe(rotation.current.fingerprint256);
    await expect(authority.issue({ kind: "name", name: "b.test" })).rejects.toMatchObject({ code: "TLS_CA_UNUSABLE" });
    expect((await rotate([{ kind: "name", name: "a.test" }])).wasTrusted).toBe(true);
    expect((await rotate()).wasTrusted).toBe(false);
    await expect((await open()).authority.issue({ kind: "name", name: "b.test" })).resolves.toBeDefined();
  });
});
