/** What is known to go wrong with JWTs (RFC 8725), tried on a vault's own tokens: each is refused with one code. */
import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError } from "../../src/core/errors.ts";
import { parseScopes } from "../../src/identity/scope.ts";
import { createBarrier } from "../../src/vault/barrier/barrier.ts";
import { openKeyRing } from "../../src/vault/barrier/key.ts";
import { openVault, type Vault } from "../../src/vault/index.ts";
import { openLmdb } from "../../src/vault/storage/lmdb.ts";

let state = "";
let vault: Vault;
let token = "";
/** The store's own: whoever forges here even has the key. */
let signer: KeyObject;
let publicX = "";
let kid = "";

beforeAll(async () => {
  state = mkdtempSync(join(tmpdir(), "sidekey-pitfalls-"));
  const keys = { file: join(state, "vault.key") };
  vault = await openVault({ directory: join(state, "vault"), keys, clock: systemClock });
  ({ token } = await vault.tokens.issue({ agent: "research", scopes: parseScopes("secrets:use:production/*") }));
  const [jwk] = (await vault.signingKeys.jwks()).keys;
  ({ kid = "", x: publicX = "" } = jwk ?? {});
  const ring = await openKeyRing(keys, false);
  const storage = await openLmdb(join(state, "vault"));
  const name = `signer:${kid}`;
  const sealed = storage.readNow((tx) => tx.get(name)) ?? Buffer.alloc(0);
  const row = JSON.parse(createBarrier(ring, systemClock).open({ path: name, version: 0 }, sealed).toString());
  signer = createPrivateKey({ key: Buffer.from(row.key, "base64"), format: "der", type: "pkcs8" });
  await storage.close();
});

afterAll(async () => {
  await vault.close();
  rmSync(state, { recursive: true, force: true });
});

const encode = (text: string): string => Buffer.from(text).toString("base64url");
const decode = (part: number): string => Buffer.from(token.split(".")[part] ?? "", "base64url").toString();
const header = (more: object = {}): string => JSON.stringify({ ...JSON.parse(decode(0)), ...more });

/** Header and claims as texts, so that what no library writes can be tried. */
const forge = (head: string, claims = decode(1), key: KeyObject | undefined = signer): string => {
  const input = `${encode(head)}.${encode(claims)}`;
  return `${input}.${key === undefined ? "" : sign(null, Buffer.from(input), key).toString("base64url")}`;
};

const codeOf = async (text: string): Promise<string> => {
  try {
    await vault.tokens.verify(text);
    return "taken";
  } catch (error) {
    if (isSidekeyError(error)) return error.code;
    throw error;
  }
};

const refused = async (...texts: readonly string[]): Promise<void> => {
  for (const text of texts) expect(await codeOf(text), text.slice(0, 200)).toBe("IDENTITY_TOKEN_INVALID");
  // Nothing of it is remembered, and the real one is not the worse for it.
  expect(await codeOf(token)).toBe("taken");
};

describe("a vault refuses", () => {
  it("nothing that it made itself, to show that the forgeries below are good ones", async () => {
    expect(await codeOf(forge(decode(0)))).toBe("taken");
  });

  it("alg none, in any spelling, signed or not", () =>
    refused(
      ...["none", "None", "NONE", "nOnE"].flatMap((alg) => [
        forge(header({ alg })),
        forge(header({ alg }), decode(1), undefined),
      ]),
    ));

  it("HS256 with the public key as its secret, in each form that it is published in", async () => {
    const input = `${encode(header({ alg: "HS256" }))}.${encode(decode(1))}`;
    const [jwk] = (await vault.signingKeys.jwks()).keys;
    const secrets = [Buffer.from(publicX, "base64url"), Buffer.from(publicX), Buffer.from(JSON.stringify(jwk))];
    await refused(
      ...secrets.map((secret) => `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`),
    );
  });

  it("RS256, ES256 and others in the place of its own", () =>
    refused(...["RS256", "PS256", "ES256", "HS256", "Ed25519", "Ed448", ""].map((alg) => forge(header({ alg })))));

  it("a key that comes along or by reference, and never fetches one", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    // Read back from its bytes: a JWK of a key just made can lock Node 20 up.
    const own = createPrivateKey(privateKey.export({ format: "pem", type: "pkcs8" }));
    const x = publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64url");
    const ways = [
      { jwk: { kty: "OKP", crv: "Ed25519", x } },
      { jku: "http://127.0.0.1:9/keys" },
      { x5u: "http://127.0.0.1:9/cert" },
      { x5c: ["AAAA"] },
      { x5t: "AAAA" },
    ];
    await refused(...ways.flatMap((way) => [forge(header(way)), forge(header(way), decode(1), own)]));
    await refused(forge(decode(0), decode(1), own));
  });

  it("a kid that is none of its own, whatever it looks like", () =>
    refused(
      ...[
        "",
        "../../../dev/null",
        "signer:ed25519",
        `${kid}A`,
        "A".repeat(43),
        "' OR 1=1 --",
        "constructor",
        "__proto__",
      ].map((other) => forge(header({ kid: other }))),
      forge(header({ kid: undefined })),
      forge(header({ kid: [kid] })),
    ));

  it("critical extensions, b64 and anything else in the header", () =>
    refused(
      forge(header({ crit: ["exp"] })),
      forge(header({ crit: [], x: 1 })),
      forge(header({ b64: false, crit: ["b64"] })),
      forge(header({ zip: "DEF" })),
      forge(header({ cty: "JWT" })),
      forge(header({ typ: "JWT" })),
      forge(header({ typ: "application/at+jwt" })),
    ));

  it("names that stand twice, in the header and in the claims", () =>
    refused(
      forge(decode(0).replace("{", '{"alg":"none",')),
      forge(decode(0).replace("}", ',"alg":"EdDSA"}')),
      forge(decode(0), decode(1).replace("{", '{"scope":"secrets:use:*",')),
      forge(decode(0), decode(1).replace(/\}$/, ',"scope":"secrets:use:*"}')),
      forge(decode(0), decode(1).replace(/\}$/, ',"\\u0073ub":"other"}')),
    ));

  it("huge claims, and huge texts that are no token", () =>
    refused(
      forge(decode(0), decode(1).replace(/\}$/, `,"x":"${"a".repeat(1_000_000)}"}`)),
      "a".repeat(5_000_000),
      `${"a.".repeat(1_000_000)}a`,
      forge(decode(0), "[".repeat(3000) + "]".repeat(3000)),
    ));

  it("a token in a token", () =>
    refused(forge(header({ cty: "JWT" }), token), forge(decode(0), JSON.stringify(token)), forge(decode(0), token)));

  it("parts too many, too few or empty, trailing dots, and signs of other alphabets", () => {
    const [head = "", claims = "", signature = ""] = token.split(".");
    return refused(
      `${token}.`,
      `${token}..`,
      `.${token}`,
      `${head}.${claims}`,
      `${head}.${claims}.`,
      `${head}..${signature}`,
      `.${claims}.${signature}`,
      `${token}=`,
      ` ${token}`,
      `${token}\n`,
      `${token}\0`,
      `${head}.${claims}.${signature.replaceAll("-", "+").replaceAll("_", "/")}==`,
      JSON.stringify({ protected: head, payload: claims, signature }),
    );
  });

  it("a second text of the same token: bits of its signature that no byte takes", () => {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const last = alphabet.indexOf(token.at(-1) ?? "");
    const others = Array.from({ length: 15 }, (_, n) => alphabet[(last & 0x30) | ((last + n + 1) & 0xf)] ?? "");
    return refused(...others.filter((sign) => sign !== token.at(-1)).map((sign) => token.slice(0, -1) + sign));
  });

  it("another issuer's and another audience's tokens, and those without a row in its store", async () => {
    const claims = JSON.parse(decode(1));
    await refused(
      forge(decode(0), JSON.stringify({ ...claims, iss: "other" })),
      forge(decode(0), JSON.stringify({ ...claims, aud: "other" })),
      forge(decode(0), JSON.stringify({ ...claims, aud: undefined })),
    );
    const unknown = forge(decode(0), JSON.stringify({ ...claims, jti: "00000000-0000-7000-8000-000000000000" }));
    expect(await codeOf(unknown)).toBe("IDENTITY_TOKEN_REVOKED");
  });
});
