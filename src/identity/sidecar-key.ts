/**
 * The key by which a vault knows a sidecar: P-256, made on first use, never out of its file. What is told of it is its
 * public half and that half's thumbprint (RFC 7638), which `agent enroll` and DPoP (RFC 9449, `jkt`) name it by.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import type { JWK } from "jose";
import { SidekeyError } from "../core/errors.ts";
import { FileFault, PRIVATE_MODE, publishFile, readWholeFile, systemCode } from "../core/whole-file.ts";

export interface SidecarKey {
  readonly privateKey: KeyObject;
  /** `kty`, `crv`, `x`, `y`, and nothing else. */
  readonly publicJwk: JWK;
  /** SHA-256 thumbprint, base64url. */
  readonly thumbprint: string;
}

/** Of the state directory. */
export const SIDECAR_KEY_FILE = "identity.key";

/** In PKCS#8 PEM it takes 241. `bytes` */
const MAX_FILE_BYTES = 4 * 1024;
const CURVE = "P-256";

/** The key in this file; one is made (0600) when there is none. Errors: IDENTITY_KEY_UNREADABLE. */
export const openSidecarKey = async (path: string): Promise<SidecarKey> => {
  const found = (await read(path)) ?? (await make(path));
  const privateKey = parse(found, path);
  const publicJwk: JWK = createPublicKey(privateKey).export({ format: "jwk" });
  const { calculateJwkThumbprint } = await import("jose");
  return { privateKey, publicJwk, thumbprint: await calculateJwkThumbprint(publicJwk, "sha256") };
};

const read = (path: string): Promise<string | undefined> =>
  readWholeFile(path, { maxBytes: MAX_FILE_BYTES, isPrivate: true }).catch((error: unknown) => {
    if (!(error instanceof FileFault)) throw error;
    throw unreadable(
      `${error.message}.`,
      error.isOpenToOthers
        ? `Whoever read it can pass for this sidecar: remove it and enrol the next one, or, if you are sure, chmod 600 ${path}.`
        : undefined,
    );
  });

/** Of two processes that make one at once, both get the same. */
const make = async (path: string): Promise<string> => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: CURVE });
  try {
    await publishFile(path, privateKey.export({ type: "pkcs8", format: "pem" }).toString(), PRIVATE_MODE);
  } catch (error) {
    throw unreadable(`${path} cannot be made (${systemCode(error)}).`);
  }
  return (await read(path)) ?? "";
};

const parse = (pem: string, path: string): KeyObject => {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyDetails?.namedCurve === "prime256v1") return key;
  } catch {
    // What the parser says may quote the file.
  }
  throw unreadable(`${path} holds no ${CURVE} private key in PEM.`, "Restore it from your backup, or enrol a new one.");
};

const unreadable = (detail: string, hint?: string): SidekeyError =>
  new SidekeyError("IDENTITY_KEY_UNREADABLE", { detail, ...(hint !== undefined && { hint }) });
