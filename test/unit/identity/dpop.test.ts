/** Proofs of possession (RFC 9449 section 4.3): what is taken, and every way to be refused. */
import { createHmac, generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { isSidekeyError } from "../../../src/core/errors.ts";
import { PROOF_SKEW_MS, type ProofTarget, verifyProof } from "../../../src/identity/dpop.ts";
import { createProofKey, makeProof } from "../../support/proofs.ts";

const NOW = Date.UTC(2030, 0, 1);
const URL_OF = "https://vault.example/v1/redeem";
const TOKEN = "a.b.c";
const key = createProofKey();
const request = { method: "POST", url: URL_OF, token: TOKEN, iat: NOW / 1000 };
const target: ProofTarget = { method: "POST", url: URL_OF, token: TOKEN, now: NOW };

type Change = Partial<Parameters<typeof makeProof>[1]>;
const proof = (change: Change = {}): string => makeProof(key, { ...request, ...change });

const codeOf = async (text: string, change: Partial<ProofTarget> = {}): Promise<string> => {
  try {
    await verifyProof(text, { ...target, ...change });
    return "taken";
  } catch (error) {
    return isSidekeyError(error) ? error.code : String(error);
  }
};

const INVALID = "IDENTITY_PROOF_INVALID";
const STALE = "IDENTITY_PROOF_STALE";

describe("a proof", () => {
  it("is taken for its method, place and token, and names its key", async () => {
    const found = await verifyProof(proof(), target);
    expect(found).toMatchObject({ jkt: key.jkt, issuedAt: NOW, usableUntil: NOW + PROOF_SKEW_MS });
    expect(found.id).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect((await verifyProof(proof(), target)).id).not.toBe(found.id);
    expect((await verifyProof(proof({ claims: { jti: "same" } }), target)).id).toBe(
      (await verifyProof(proof({ claims: { jti: "same" } }), target)).id,
    );
  });

  it.each([
    "https://VAULT.example/v1/redeem",
    "https://vault.example:443/v1/redeem",
    "https://vault.example/v1/redeem?x=1#y",
    "https://vault.example/v1/%72edeem",
    "https://vault.example/v1/./redeem",
  ])("is for one place, however it is spelled: %s", async (url) => {
    expect(await codeOf(proof({ url }))).toBe("taken");
  });

  it.each([
    "http://vault.example/v1/redeem",
    "https://vault.example:8443/v1/redeem",
    "https://vault.example.evil.example/v1/redeem",
    "https://vault.example@evil.example/v1/redeem",
    "https://vault.example/v1/redeem/",
    "https://vault.example/v1/Redeem",
    "https://vault.example/v1%2Fredeem",
    "/v1/redeem",
    "vault.example/v1/redeem",
  ])("is for no other place: %s", async (url) => {
    expect(await codeOf(proof({ url }))).toBe(INVALID);
  });

  it.each<[string, Change]>([
    ["another method", { method: "GET" }],
    ["the method in other letters", { method: "post" }],
    ["another token", { token: "a.b.d" }],
    ["no token", { claims: { ath: undefined } }],
    ["no id", { claims: { jti: undefined } }],
    ["an empty id", { claims: { jti: "" } }],
    ["an id without end", { claims: { jti: "x".repeat(300) } }],
    ["no time", { claims: { iat: undefined } }],
    ["a time that is text", { claims: { iat: String(NOW / 1000) } }],
    ["no place", { claims: { htu: undefined } }],
    ["a place without end", { claims: { htu: `${URL_OF}?${"x".repeat(3000)}` } }],
    ["alg none", { header: { alg: "none" } }],
    ["alg HS256", { header: { alg: "HS256" } }],
    ["alg ES384", { header: { alg: "ES384" } }],
    ["another type", { header: { typ: "JWT" } }],
    ["no type", { header: { typ: undefined } }],
    ["no key", { header: { jwk: undefined } }],
    ["a key by reference", { header: { jwk: undefined, jku: "https://evil.example/jwks" } }],
    ["a certificate", { header: { x5c: ["MIIB"] } }],
    ["a critical header", { header: { crit: ["exp"], exp: 1 } }],
    ["a private key", { header: { jwk: { ...key.jwk, d: "AAAA" } } }],
    ["a symmetric key", { header: { jwk: { kty: "oct", k: "AAAA" } } }],
    ["a key of another curve", { header: { jwk: { ...key.jwk, crv: "P-384" } } }],
    ["a point that is on no curve", { header: { jwk: { ...key.jwk, y: key.jwk["x"] } } }],
    ["another key than signed it", { header: { jwk: createProofKey().jwk } }],
  ])("is refused with %s", async (_, change) => {
    expect(await codeOf(proof(change))).toBe(INVALID);
  });

  it("is refused when it is signed with the bytes of its public key", async () => {
    const [head = "", body = ""] = proof({ header: { alg: "HS256" } }).split(".");
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const secret = publicKey.export({ type: "spki", format: "pem" });
    const mac = createHmac("sha256", secret).update(`${head}.${body}`).digest("base64url");
    expect(await codeOf(`${head}.${body}.${mac}`)).toBe(INVALID);
  });

  it("is one compact JWS and nothing else", async () => {
    const whole = proof();
    const [head, body, signature] = whole.split(".");
    for (const text of ["", "x", `${head}.${body}`, `${whole}.x`, `${head}.${body}.`, ` ${whole}`, `${whole}\n`]) {
      expect(await codeOf(text)).toBe(INVALID);
    }
    // Two headers of the name arrive so.
    expect(await codeOf(`${whole}, ${proof()}`)).toBe(INVALID);
    expect(await codeOf(`${head}.${body}.${signature?.split("").reverse().join("")}`)).toBe(INVALID);
    expect(await codeOf(proof({ claims: { pad: "x".repeat(5000) } }))).toBe(INVALID);
  });

  it("lives 60 seconds either way, by its own time", async () => {
    for (const seconds of [-60, 60]) expect(await codeOf(proof({ iat: NOW / 1000 + seconds }))).toBe("taken");
    for (const seconds of [-61, 61, 1e9, -1e9]) expect(await codeOf(proof({ iat: NOW / 1000 + seconds }))).toBe(STALE);
  });

  it("with a nonce of the server is new whatever its time says, and not with any other", async () => {
    const nonceUntil = (nonce: string) => (nonce === "ours" ? NOW + 5_000 : undefined);
    const old = NOW / 1000 - 86_400;
    expect(await codeOf(proof({ iat: old, nonce: "ours" }), { nonceUntil })).toBe("taken");
    expect(await codeOf(proof({ iat: old, nonce: "other" }), { nonceUntil })).toBe(STALE);
    expect(await codeOf(proof({ nonce: "ours" }))).toBe(STALE);
    const { usableUntil } = await verifyProof(proof({ iat: old, nonce: "ours" }), { ...target, nonceUntil });
    expect(usableUntil).toBe(NOW + 5_000);
  });

  it("says nothing of itself in an error", async () => {
    const canary = "canary-jti-5d81";
    const text = proof({ claims: { jti: canary }, method: "GET" });
    const error = await verifyProof(text, target).catch((thrown: unknown) => thrown as Error & { detail: string });
    const said = JSON.stringify([String(error), (error as { detail: string }).detail]);
    expect(said).not.toContain(canary);
    expect(said).not.toContain(text.slice(0, 20));
  });
});
