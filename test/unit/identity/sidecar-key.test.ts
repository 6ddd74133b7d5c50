import { execFileSync } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SidekeyError } from "../../../src/core/errors.ts";
import { openSidecarKey } from "../../../src/identity/sidecar-key.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sidekey-identity-"));
  path = join(directory, "identity.key");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const failure = async (): Promise<SidekeyError> => {
  const error = await openSidecarKey(path).catch((thrown: unknown) => thrown);
  if (!(error instanceof SidekeyError)) throw new Error("it did not fail");
  return error;
};

describe("the sidecar's key", () => {
  it("is made on first use for its owner alone, and stays", async () => {
    const first = await openSidecarKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(["identity.key"]);
    const bytes = readFileSync(path);
    const second = await openSidecarKey(path);
    expect(second.thumbprint).toBe(first.thumbprint);
    expect(readFileSync(path).equals(bytes)).toBe(true);
  });

  it("has the thumbprint of RFC 7638 over its public half, and tells nothing of the other", async () => {
    const { publicJwk, thumbprint } = await openSidecarKey(path);
    const { crv, kty, x, y } = createPublicKey(readFileSync(path)).export({ format: "jwk" });
    const members = JSON.stringify({ crv, kty, x, y });
    expect(thumbprint).toBe(createHash("sha256").update(members).digest("base64url"));
    expect(crv).toBe("P-256");
    expect(publicJwk).toEqual({ crv, kty, x, y });
  });

  it("is one, however many make it at once", async () => {
    const keys = await Promise.all(Array.from({ length: 8 }, () => openSidecarKey(path)));
    expect(new Set(keys.map(({ thumbprint }) => thumbprint)).size).toBe(1);
    expect(readdirSync(directory)).toEqual(["identity.key"]);
  });
});

describe("a key that is not to be used", () => {
  it("is refused when others could read it, and stays as it is", async () => {
    await openSidecarKey(path);
    chmodSync(path, 0o640);
    const { code, message, hint } = await failure();
    expect(code).toBe("IDENTITY_KEY_UNREADABLE");
    expect(message).toContain("mode 640");
    expect(hint).toContain(`chmod 600 ${path}`);
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });

  it.each([
    ["nothing", ""],
    ["a text", "canary-4711"],
    ["another kind of key", generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" })],
    [
      "another curve",
      generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey.export({ type: "pkcs8", format: "pem" }),
    ],
    [
      "the public half",
      generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ type: "spki", format: "pem" }),
    ],
    ["far too much", "x".repeat(5000)],
  ])("%s in its place is refused, never replaced and never shown", async (_what, text) => {
    writeFileSync(path, text, { mode: 0o600 });
    const { code, message } = await failure();
    expect(code).toBe("IDENTITY_KEY_UNREADABLE");
    expect(message).not.toContain("canary-4711");
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  it("a directory or a FIFO in its place is refused at once", async () => {
    mkdirSync(path);
    expect((await failure()).message).toContain("is not a regular file");
    rmSync(path, { recursive: true });
    execFileSync("mkfifo", ["-m", "600", path]);
    expect((await failure()).message).toContain("is not a regular file");
  });

  it("a directory that is not there is told", async () => {
    path = join(directory, "not-there", "identity.key");
    expect((await failure()).message).toContain("(ENOENT)");
  });
});
