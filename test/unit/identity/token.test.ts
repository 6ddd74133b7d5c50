import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../src/identity/scope.ts";
import {
  createSigningKey,
  MAX_TOKEN_BYTES,
  type SigningKey,
  signToken,
  type TokenClaims,
  verifyToken,
} from "../../../src/identity/token.ts";

const NOW = Date.UTC(2030, 0, 1);
/** Read back from its bytes, as the vault's is: a JWK of a key just made can lock Node 20 up. */
const newKey = (): SigningKey => {
  const der = generateKeyPairSync("ed25519").privateKey.export({ format: "der", type: "pkcs8" });
  return createSigningKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
};
const key = newKey();
const keyOf = async (kid: string): Promise<SigningKey | undefined> => (kid === key.kid ? key : undefined);

const claims: TokenClaims = {
  subject: "ag_1",
  agent: "research",
  id: "jti-1",
  issuedAt: NOW,
  notBefore: NOW,
  expiresAt: NOW + 3_600_000,
  scopes: parseScopes("secrets:use:production/*"),
};

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

const HEADER = { alg: "EdDSA", typ: "at+jwt", kid: key.kid };
const PAYLOAD = {
  iss: "sidekey",
  aud: "sidekey",
  sub: "ag_1",
  agent: "research",
  jti: "jti-1",
  iat: NOW / 1000,
  nbf: NOW / 1000,
  exp: NOW / 1000 + 3600,
  scope: "secrets:use:production/*",
};

/** A token made without jose, so that what it would never sign can be tried too. */
const forge = (
  header: Record<string, unknown>,
  payload: Record<string, unknown>,
  signer: KeyObject = key.privateKey,
): string => {
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${sign(null, Buffer.from(input), signer).toString("base64url")}`;
};

const refused = (token: string, code = "IDENTITY_TOKEN_INVALID", now = NOW): Promise<void> =>
  expect(verifyToken(token, { keyOf, now })).rejects.toMatchObject({ code });

const without = (name: string): Record<string, unknown> =>
  Object.fromEntries(Object.entries(PAYLOAD).filter(([claim]) => claim !== name));

describe("signToken and verifyToken", () => {
  it("give back every claim", async () => {
    const all: TokenClaims = { ...claims, maxUses: 3, ip: "10.0.0.0/8", reads: "placeholder", jkt: "thumb" };
    expect(await verifyToken(await signToken(all, key), { keyOf, now: NOW })).toEqual(all);
    expect(await verifyToken(await signToken(claims, key), { keyOf, now: NOW })).toEqual(claims);
  });

  it("write the header and the claims of the protocol", async () => {
    const [header = "", payload = ""] = (await signToken({ ...claims, jkt: "thumb" }, key)).split(".");
    const decode = (part: string): unknown => JSON.parse(Buffer.from(part, "base64url").toString());
    expect(decode(header)).toEqual(HEADER);
    expect(decode(payload)).toEqual({ ...PAYLOAD, cnf: { jkt: "thumb" } });
  });

  it("accept a token made by hand from the same key", async () => {
    await expect(verifyToken(forge(HEADER, PAYLOAD), { keyOf, now: NOW })).resolves.toEqual(claims);
  });

  it("name the key by its RFC 7638 thumbprint (RFC 8037 appendix A.3)", () => {
    const jwk = {
      kty: "OKP",
      crv: "Ed25519",
      d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
      x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    };
    const { kid } = createSigningKey(createPrivateKey({ key: jwk, format: "jwk" }));
    expect(kid).toBe("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
  });

  it("refuse to sign more scopes than a token may carry", async () => {
    const scopes = parseScopes(Array.from({ length: 400 }, (_, n) => `secrets:use:production/${n}/key`).join(" "));
    await expect(signToken({ ...claims, scopes }, key)).rejects.toMatchObject({ code: "IDENTITY_BAD_SCOPE" });
  });
});

describe("verifyToken refuses", () => {
  it("alg none, with and without a signature", async () => {
    await refused(`${encode({ ...HEADER, alg: "none" })}.${encode(PAYLOAD)}.`);
    await refused(forge({ ...HEADER, alg: "none" }, PAYLOAD));
  });

  it.each(["HS256", "HS512", "RS256", "ES256", "PS256", "eddsa", "Ed448", ""])("alg %j", (alg) =>
    refused(forge({ ...HEADER, alg }, PAYLOAD)),
  );

  it("an HMAC under the bytes of the public key", async () => {
    const input = `${encode({ ...HEADER, alg: "HS256" })}.${encode(PAYLOAD)}`;
    const { publicKey } = key;
    const secrets = [
      publicKey.export({ format: "pem", type: "spki" }),
      publicKey.export({ format: "der", type: "spki" }),
      Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url"),
    ];
    for (const secret of secrets) {
      await refused(`${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`);
    }
  });

  it("another key, also one that the header brings along", async () => {
    const other = newKey();
    await refused(forge(HEADER, PAYLOAD, other.privateKey));
    const jwk = other.publicKey.export({ format: "jwk" });
    await refused(forge({ ...HEADER, jwk, kid: other.kid }, PAYLOAD, other.privateKey));
    await refused(forge({ ...HEADER, jku: "https://evil.test/keys", kid: "../../key" }, PAYLOAD, other.privateKey));
  });

  it("a critical header that it does not know", () => refused(forge({ ...HEADER, crit: ["exp2"], exp2: 1 }, PAYLOAD)));

  it.each([undefined, "JWT", "jwt", "dpop+jwt"])("typ %j", (typ) => refused(forge({ ...HEADER, typ }, PAYLOAD)));

  it.each(Object.keys(PAYLOAD))("a token without %s", (name) => refused(forge(HEADER, without(name))));

  it.each([
    ["iss", "other"],
    ["aud", "other"],
    ["aud", ["other"]],
    ["aud", ""],
    ["sub", ""],
    ["sub", 1],
    ["agent", ""],
    ["jti", ""],
    ["jti", {}],
    ["iat", "1"],
    ["iat", NOW / 1000 + 61],
    ["nbf", NOW / 1000 + 61],
    ["exp", "never"],
    ["exp", null],
    ["scope", ""],
    ["scope", "secrets:use"],
    ["scope", ["secrets:use:*"]],
    ["scope", "secrets:use:a/b openid"],
    ["max_uses", 0],
    ["max_uses", "1"],
    ["reads", "raw"],
    ["ip", ""],
    ["cnf", {}],
    ["cnf", { jkt: "a", jwk: {} }],
  ])("%s = %j", (name, value) => refused(forge(HEADER, { ...PAYLOAD, [name]: value })));

  it("a token past its end, 60 seconds of skew granted", async () => {
    const token = forge(HEADER, PAYLOAD);
    const end = NOW + 3_600_000;
    await expect(verifyToken(token, { keyOf, now: end + 59_000 })).resolves.toEqual(claims);
    await refused(token, "IDENTITY_TOKEN_EXPIRED", end + 60_000);
    await refused(token, "IDENTITY_TOKEN_EXPIRED", end + 10 * 365 * 86_400_000);
  });

  it("a token from the future, 60 seconds of skew granted", async () => {
    const token = forge(HEADER, PAYLOAD);
    await expect(verifyToken(token, { keyOf, now: NOW - 59_000 })).resolves.toEqual(claims);
    await refused(token, "IDENTITY_TOKEN_INVALID", NOW - 61_000);
  });

  it("an expired token of another key as invalid, not as expired, even when expiry is left to the caller", async () => {
    const forged = forge(HEADER, PAYLOAD, newKey().privateKey);
    const late = { keyOf, now: NOW + 86_400_000, expiredToo: true };
    await expect(verifyToken(forged, late)).rejects.toMatchObject({ code: "IDENTITY_TOKEN_INVALID" });
    await expect(verifyToken(forge(HEADER, PAYLOAD), late)).resolves.toEqual(claims);
    const elsewhere = forge(HEADER, { ...PAYLOAD, aud: "other" });
    await expect(verifyToken(elsewhere, late)).rejects.toMatchObject({ code: "IDENTITY_TOKEN_INVALID" });
  });

  it("what is no compact JWS", async () => {
    const [header, payload, signature] = forge(HEADER, PAYLOAD).split(".");
    const shapes = ["", ".", "..", "a.b.c", `${header}.${payload}`, `${header}.${payload}.${signature}.x`];
    shapes.push(` ${header}.${payload}.${signature}`, `${header}.${payload}.${signature}\n`, `${header}.${payload}.`);
    shapes.push(`${header}.${payload}.${signature}=`, JSON.stringify({ payload, protected: header, signature }));
    for (const shape of shapes) await refused(shape);
  });

  it("a huge token before it looks into it", async () => {
    await refused(`${"a".repeat(MAX_TOKEN_BYTES)}.${"b".repeat(1_000_000)}.c`);
    await refused(forge(HEADER, { ...PAYLOAD, filler: "x".repeat(MAX_TOKEN_BYTES) }));
  });

  it("a token with any one character changed", async () => {
    const token = await signToken(claims, key);
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    await fc.assert(
      fc.asyncProperty(
        // The last character of 64 signature bytes carries unused bits.
        fc.nat({ max: token.length - 2 }),
        fc.constantFrom(...alphabet),
        async (at, character) => {
          fc.pre(token[at] !== character);
          await refused(token.slice(0, at) + character + token.slice(at + 1));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("without repeating the token in the error", async () => {
    const token = forge(HEADER, { ...PAYLOAD, scope: "secrets:use:canary-4711" }, newKey().privateKey);
    const error: unknown = await verifyToken(token, { keyOf, now: NOW }).catch((caught: unknown) => caught);
    expect(inspect(error, { depth: 10 })).not.toContain(token.slice(0, 20));
    expect(inspect(error, { depth: 10 })).not.toContain("canary-4711");
  });
});
