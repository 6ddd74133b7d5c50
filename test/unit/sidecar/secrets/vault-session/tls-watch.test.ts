/** What the vault is connected with, while its files change. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { ClientTls } from "../../../../../src/config/client-tls.ts";
import { silentLog } from "../../../../../src/core/log.ts";
import {
  requireClientTls,
  tlsFilesOf,
  watchClientTls,
} from "../../../../../src/sidecar/secrets/vault-session/tls-watch.ts";
import { createTestAuthority, type TestAuthority, type TestCertificate } from "../../../../support/certificates.ts";

let authority: TestAuthority;
beforeAll(async () => {
  authority = await createTestAuthority();
});
const issue = (): Promise<TestCertificate> => authority.issue({ names: ["client"] });

const stage = async () => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-tls-watch-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const put = (name: string, text: string): void => writeFileSync(join(directory, name), text, { mode: 0o600 });
  const first = await issue();
  put("c.pem", first.cert);
  put("k.pem", first.key);
  const files = tlsFilesOf({ cert: "c.pem", cert_key: "k.pem" }, directory);
  const used: ClientTls[] = [];
  const said: string[] = [];
  let due: (() => void) | undefined;
  let refuses = false;
  const watch = watchClientTls(
    {
      source: "v",
      files,
      use(tls) {
        if (refuses) throw new Error("refused");
        used.push(tls);
      },
      after(_ms, act) {
        due = act;
        return () => {
          due = undefined;
        };
      },
      log: { ...silentLog, info: (text) => void said.push(text), warn: (text) => void said.push(text) },
    },
    requireClientTls(files, "v"),
  );
  return {
    put,
    used,
    said,
    watch,
    refuse: (now: boolean) => {
      refuses = now;
    },
    look: () => due?.(),
    looks: () => due !== undefined,
  };
};

describe("a certificate for the vault", () => {
  it("is read again when its files change, and nothing is done or said while they do not", async () => {
    const { put, used, said, look } = await stage();
    look();
    expect([used, said]).toEqual([[], []]);
    const next = await issue();
    put("c.pem", next.cert);
    put("k.pem", next.key);
    look();
    look();
    expect(used).toEqual([{ certificate: next }]);
    expect(said).toEqual(["the files that the vault is connected with were read again"]);
  });

  it("stays while half of the next is there, of which nothing is said", async () => {
    const { put, used, said, look } = await stage();
    const next = await issue();
    put("c.pem", next.cert);
    look();
    expect([used, said]).toEqual([[], []]);
    put("k.pem", next.key);
    look();
    expect(used).toEqual([{ certificate: next }]);
  });

  it("stays when the next is none, which is told once, and is not asked about again before it changes", async () => {
    const { put, used, said, look } = await stage();
    put("k.pem", "none");
    for (let looks = 0; looks < 4; looks += 1) look();
    expect(used).toEqual([]);
    expect(said).toEqual(["the files that the vault is connected with cannot be used, and those before stay"]);
    const next = await issue();
    put("c.pem", next.cert);
    put("k.pem", next.key);
    look();
    expect(used).toEqual([{ certificate: next }]);
  });

  it("that was not taken is tried again once it is another one", async () => {
    const { put, used, look, refuse } = await stage();
    refuse(true);
    const next = await issue();
    put("c.pem", next.cert);
    put("k.pem", next.key);
    look();
    look();
    refuse(false);
    const third = await issue();
    put("c.pem", third.cert);
    put("k.pem", third.key);
    look();
    expect(used).toEqual([{ certificate: third }]);
  });

  it("is not looked at any more once it is closed, and not at all where there is none", async () => {
    const { watch, looks } = await stage();
    expect(looks()).toBe(true);
    await watch.close();
    expect(looks()).toBe(false);
    watchClientTls({ source: "v", files: {}, use: () => {}, after: () => expect.fail("it looks"), log: silentLog }, {});
  });

  it("that cannot be used is an error which names source, key and file", () => {
    const files = tlsFilesOf({ ca: "ca.pem" }, "/nowhere");
    expect(() => requireClientTls(files, "v")).toThrow(
      expect.objectContaining({
        code: "CONFIG_UNREADABLE",
        detail: "source v, 'ca': /nowhere/ca.pem cannot be read (ENOENT).",
      }),
    );
  });
});
