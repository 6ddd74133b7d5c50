/** E2, E5: keys and tokens that are guessed, forged or over. All of them get one answer, and guessing gets slower. */
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { describe, expect, it } from "vitest";
import { startTestVault, type TestVault } from "../support/vault/test-vault.ts";

const part = (value: unknown): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** An answer without what differs by right. */
const shapeOf = async (vault: TestVault, authorization: string) => {
  const { status, headers, json } = await vault.call("GET", "/v1/me", { as: null, headers: { authorization } });
  const { request_id: _, ...error } = json.error;
  const names = [...headers.keys()].filter((name) => !["date", "x-request-id"].includes(name)).sort();
  return { status, error, detail: json.detail, names, length: headers.get("content-length") };
};

describe("what is wrong with a key or a token", () => {
  it("is not told: one answer, whether it is unknown, forged, over, taken back or no credential at all", async () => {
    const vault = await startTestVault({ yaml: "limits: { failures_per_minute: 100000 }\n" });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const token = await vault.token(key, { scopes: ["secrets:read:p/*"] });
    const gone = await vault.token(key, { scopes: ["secrets:read:p/*"] });
    await vault.call("POST", "/v1/tokens/revoke", { as: gone });
    const [header = "", payload = "", signature = ""] = token.split(".");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
    const { kid } = JSON.parse(Buffer.from(header, "base64url").toString());
    const { keys } = (await vault.call("GET", "/v1/jwks.json", { as: null })).json;
    const foreign = generateKeyPairSync("ed25519");
    const signed = (head: object, body: string): string => {
      const text = `${part(head)}.${body}`;
      return `${text}.${sign(null, Buffer.from(text), foreign.privateKey).toString("base64url")}`;
    };
    const hmac = (head: object, secret: string): string => {
      const text = `${part(head)}.${payload}`;
      return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
    };
    const at = { typ: "at+jwt", kid };
    const wrong: Readonly<Record<string, string>> = {
      "unknown operator's key": `Bearer ask_op_${"A".repeat(43)}`,
      "unknown agent's key": `Bearer ast_agent_${"A".repeat(43)}`,
      "a key but one character": `Bearer ${key.slice(0, -1)}${key.endsWith("A") ? "B" : "A"}`,
      "a key's beginning": `Bearer ${key.slice(0, 14)}`,
      "key in another case": `Bearer ${key.toUpperCase()}`,
      "token taken back": `Bearer ${gone}`,
      "no signature": `Bearer ${header}.${payload}.`,
      "signature of zeros": `Bearer ${header}.${payload}.${"A".repeat(signature.length)}`,
      "alg none": `Bearer ${part({ ...at, alg: "none" })}.${payload}.`,
      "alg None": `Bearer ${part({ ...at, alg: "None" })}.${payload}.${signature}`,
      "another's signature": `Bearer ${signed({ ...at, alg: "EdDSA" }, payload)}`,
      "another's key inside": `Bearer ${signed({ ...at, alg: "EdDSA", jwk: foreign.publicKey.export({ format: "jwk" }) }, payload)}`,
      "another's key by address": `Bearer ${signed({ ...at, alg: "EdDSA", jku: "http://127.0.0.1:1/" }, payload)}`,
      "kid that is a path": `Bearer ${signed({ typ: "at+jwt", alg: "EdDSA", kid: "../../../dev/null" }, payload)}`,
      "public key as HMAC secret": `Bearer ${hmac({ ...at, alg: "HS256" }, keys[0].x)}`,
      "HMAC with nothing": `Bearer ${hmac({ ...at, alg: "HS256" }, "")}`,
      "wider scope": `Bearer ${header}.${part({ ...claims, scope: "secrets:*:*" })}.${signature}`,
      "other life": `Bearer ${header}.${part({ ...claims, exp: claims.exp + 1 })}.${signature}`,
      "claims twice": `Bearer ${header}.${part(`{"scope":"secrets:*:*",${JSON.stringify(claims).slice(1)}`)}.${signature}`,
      "critical header": `Bearer ${signed({ ...at, alg: "EdDSA", crit: ["x"], x: 1 }, payload)}`,
      "five parts": `Bearer ${header}.${payload}.${signature}.a.b`,
      huge: `Bearer ${"a".repeat(9000)}.b.c`,
      text: "Bearer x",
      nothing: "Bearer ",
      "other scheme": `Basic ${Buffer.from("a:b").toString("base64")}`,
      "bearer twice": `Bearer ${token}, Bearer ${token}`,
      "dpop without a proof": `DPoP ${token}`,
      "key as dpop": `DPoP ${key}`,
    };
    const first = await shapeOf(vault, wrong["unknown operator's key"] ?? "");
    expect(first).toMatchObject({ status: 401, error: { code: "UNAUTHORIZED" } });
    for (const [what, authorization] of Object.entries(wrong)) {
      expect([what, await shapeOf(vault, authorization)]).toEqual([what, first]);
    }
    expect((await vault.call("GET", "/v1/me", { as: token })).status).toBe(200);
    for (const [, authorization] of Object.entries(wrong)) {
      const credential = authorization.split(" ")[1] ?? "";
      if (credential.length > 20) expect(JSON.stringify(vault.audit())).not.toContain(credential);
    }
  });
});

describe("guessing", () => {
  it("ends in 429, is told in few records, and stops nobody who has shown the right key before", async () => {
    // One minute, however long a busy machine takes for ten thousand guesses.
    const vault = await startTestVault({ clock: { now: () => Date.now(), monotonic: () => 1_000 } });
    expect((await vault.call("GET", "/v1/me")).status).toBe(200);
    const key = await vault.agent("late", { allowed_scopes: ["secrets:read:p/*"] });
    const guesses = 10_000;
    const seen = new Map<number, number>();
    let next = 0;
    let retryAfter: string | null = null;
    const guess = async (): Promise<void> => {
      while (next < guesses) {
        const at = next++;
        const answer = await fetch(`${vault.url}/v1/secrets/p/a`, {
          headers: { authorization: `Bearer ask_op_${String(at).padStart(43, "A")}` },
        });
        await answer.arrayBuffer();
        seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1);
        if (answer.status === 429) retryAfter = answer.headers.get("retry-after");
      }
    };
    await Promise.all(Array.from({ length: 16 }, guess));
    expect([...seen.keys()].sort()).toEqual([401, 429]);
    expect(seen.get(401)).toBeLessThan(1000);
    expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    expect(Number(retryAfter)).toBeLessThanOrEqual(60);
    expect((await vault.call("GET", "/v1/me")).status).toBe(200);
    // Right, but not shown before: not even looked at.
    expect((await vault.call("GET", "/v1/me", { as: key })).status).toBe(429);
    const records = vault.audit().filter(({ event, type }) => event === "auth.failed" || type === "refusal");
    expect(records.length).toBeLessThan(2000);
    expect(JSON.stringify(records)).not.toContain("ask_op_");
  }, 300_000);

  it("counts what a key asks for, where the file says how much", async () => {
    const vault = await startTestVault({ yaml: "limits: { requests_per_minute: 5 }\n" });
    const statuses: number[] = [];
    for (let at = 0; at < 8; at += 1) statuses.push((await vault.call("GET", "/v1/me")).status);
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429, 429, 429]);
    expect((await vault.call("GET", "/v1/health", { as: null })).status).toBe(200);
  });
});
