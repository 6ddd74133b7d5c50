/** How calls are made: with which key, how often, over which connections, and with what proof. */
import { createHash, generateKeyPairSync } from "node:crypto";
import { calculateJwkThumbprint, compactVerify, importJWK, type JWK } from "jose";
import { afterEach, describe, expect, it } from "vitest";
import { AgentVault, SecretValue } from "../../../src/client/index.ts";
import { answerOf, type RawVault, startRawVault } from "../../support/vault/raw-vault.ts";
import { createProofKey, failureOf, OPERATOR_KEY, quickVault, TOKEN, VALUE } from "./support.ts";

const PATH = "production/x/key";
const record = { value: VALUE, version: 3, secret_type: "api_key", access_tier: "standard", metadata: { a: 1 } };
const refusal = (code: string): object => ({ error: { code, message: "No." } });

const createPemKey = (): string =>
  generateKeyPairSync("ec", {
    namedCurve: "P-256",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  }).privateKey;

let raw: RawVault;
afterEach(() => raw?.close());

/** Answers one after the other; the last one again and again. */
const answering = async (...answers: readonly string[]): Promise<RawVault> => {
  raw = await startRawVault((socket, _request, count) => void socket.write(answers[count - 1] ?? answers.at(-1) ?? ""));
  return raw;
};

const headerOf = (request: string | undefined, name: string): string | undefined =>
  new RegExp(`^${name}: (.*)\r$`, "im").exec(request ?? "")?.[1];
const lineOf = (request: string | undefined): string => request?.split("\r\n")[0] ?? "";
const bodyOf = (request: string | undefined): unknown => JSON.parse(request?.split("\r\n\r\n")[1] ?? "null");

describe("a call", () => {
  it("asks for one secret with the operator's key, and gives its value as text or as a record that prints nothing", async () => {
    await answering(answerOf(200, record));
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    expect(await vault.getSecret(PATH, { version: 3, reason: "a – b", agentName: "r1" })).toBe(VALUE);
    expect(lineOf(raw.requests[0])).toBe(
      "GET /v1/secrets/production/x/key?version=3&agent_name=r1&reason=a%20%E2%80%93%20b HTTP/1.1",
    );
    expect(headerOf(raw.requests[0], "authorization")).toBe(`Bearer ${OPERATOR_KEY}`);
    expect(headerOf(raw.requests[0], "dpop")).toBeUndefined();
    const found = await vault.getSecretRecord(PATH);
    expect(found).toMatchObject({ path: PATH, version: 3, type: "api_key", tier: "standard", metadata: { a: 1 } });
    expect(JSON.stringify(found)).not.toContain(VALUE);
    expect(found.value.lend(String)).toBe(VALUE);
  });

  it("trades an agent key for a token of that one secret, keeps it while it lives, and never reads with the key", async () => {
    let now = 1_800_000_000_000;
    raw = await startRawVault((socket, request) => {
      const expires_at = new Date(now + 300_000).toISOString();
      const isToken = request.startsWith("POST /v1/tokens");
      socket.write(answerOf(isToken ? 201 : 200, isToken ? { token: TOKEN, token_id: "t", expires_at } : record));
    });
    const vault = new AgentVault({ address: raw.address, agentKey: "ast_agent_x" }, { clock: { now: () => now } });
    await vault.getSecret(PATH);
    await vault.getSecret(PATH);
    expect(raw.requests.map(lineOf)).toEqual([
      "POST /v1/tokens HTTP/1.1",
      `GET /v1/secrets/${PATH} HTTP/1.1`,
      `GET /v1/secrets/${PATH} HTTP/1.1`,
    ]);
    expect(bodyOf(raw.requests[0])).toEqual({ scopes: [`secrets:read:${PATH}`], ttl: 300 });
    expect(raw.requests.map((request) => headerOf(request, "authorization"))).toEqual([
      "Bearer ast_agent_x",
      `Bearer ${TOKEN}`,
      `Bearer ${TOKEN}`,
    ]);
    now += 296_000;
    await vault.getSecret(PATH);
    expect(raw.requests).toHaveLength(5);
    await vault.deleteSecret(PATH);
    expect(bodyOf(raw.requests[5])).toMatchObject({ scopes: [`secrets:delete:${PATH}`] });
  });

  it("trades the agent key once more when the token it kept is no good any more", async () => {
    const token = answerOf(201, { token: TOKEN, expires_at: "2999-01-01T00:00:00Z" });
    await answering(token, answerOf(200, record), answerOf(401, refusal("UNAUTHORIZED")), token, answerOf(200, record));
    const vault = quickVault({ address: raw.address, agentKey: "ast_agent_x" });
    await vault.getSecret(PATH);
    expect(await vault.getSecret(PATH)).toBe(VALUE);
    expect(raw.requests).toHaveLength(5);
  });

  it("trades once for callers that come at once", async () => {
    raw = await startRawVault((socket, request) => {
      const isToken = request.startsWith("POST");
      socket.write(answerOf(200, isToken ? { token: TOKEN, expires_at: "2999-01-01T00:00:00Z" } : record));
    });
    const vault = quickVault({ address: raw.address, agentKey: "ast_agent_x" });
    await Promise.all(Array.from({ length: 5 }, () => vault.getSecret(PATH)));
    expect(raw.requests.filter((request) => request.startsWith("POST"))).toHaveLength(1);
    vault.close();
  });

  it("tells which approval is waited for", async () => {
    await answering(answerOf(202, { requires_approval: true, approval_id: "ap-7", status: "pending" }));
    const error = await failureOf(quickVault({ address: raw.address, agentKey: "ast_agent_x" }).getSecret(PATH));
    expect(error).toMatchObject({ code: "CLIENT_APPROVAL_REQUIRED", approvalId: "ap-7", httpStatus: 202 });
    expect(error.hint).toContain("sidekey approval approve ap-7");
  });

  it.each(["a", "a//b", "a/../b", "a/b?c=d", "a/b%2fc", "a/b c", "", "a/.", `a/${"b".repeat(129)}`, "a/é"])(
    "sends nothing for a path that is none: %j",
    async (path) => {
      await answering(answerOf(200, record));
      const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
      expect((await failureOf(vault.getSecret(path))).code).toBe("CLIENT_REFUSED");
      expect(raw.requests).toEqual([]);
    },
  );

  it.each(["", "two words", "line\r\nx: y", "é", "x".repeat(9000)])(
    "sends nothing with a key that is none",
    async (key) => {
      await answering(answerOf(200, record));
      const vault = quickVault({ address: raw.address, operatorKey: key });
      expect((await failureOf(vault.getSecret(PATH))).code).toBe("CLIENT_UNAUTHORIZED");
      expect(raw.requests).toEqual([]);
    },
  );

  it("stores no bytes that JSON would change", async () => {
    await answering(answerOf(200, record));
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    for (const value of ["", "\ud800", new SecretValue(Buffer.from([0x61, 0xff]))]) {
      expect((await failureOf(vault.setSecret(PATH, value))).code).toBe("CLIENT_REFUSED");
    }
    expect(raw.requests).toEqual([]);
  });

  it("takes one key or token, and without one only asks for health", async () => {
    await answering(answerOf(200, { status: "ok", version: "1.2.3", service: "sidekey-vault", more: 1 }));
    expect(() => new AgentVault({ address: raw.address, agentKey: "a", token: "b" })).toThrow(TypeError);
    const vault = quickVault({ address: raw.address });
    expect(await vault.health()).toEqual({ status: "ok", version: "1.2.3", service: "sidekey-vault" });
    expect((await failureOf(vault.getSecret(PATH))).code).toBe("CLIENT_UNAUTHORIZED");
    expect(raw.requests).toHaveLength(1);
  });

  it("ends when its caller gives up, with the caller's own reason", async () => {
    raw = await startRawVault(() => {});
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    const reason = new Error("enough");
    const controller = new AbortController();
    const reading = vault.getSecret(PATH, { signal: controller.signal });
    reading.catch(() => undefined);
    await expect.poll(() => raw.requests.length).toBe(1);
    controller.abort(reason);
    await expect(reading).rejects.toBe(reason);
  });
});

describe("a program without types", () => {
  it("is told what is wrong before anything is sent", async () => {
    await answering(answerOf(200, record));
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    // What JavaScript lets through.
    const odd = <T>(value: unknown): T => value as T;
    for (const none of [undefined, null, 7, {}, ["production/x/key"]]) {
      expect(await failureOf(vault.getSecret(odd(none)))).toMatchObject({ code: "CLIENT_REFUSED" });
      expect(await failureOf(vault.setSecret(PATH, odd(none)))).toMatchObject({ code: "CLIENT_REFUSED" });
      expect(() => new AgentVault({ address: odd(none) })).toThrow(
        expect.objectContaining({ code: "CLIENT_BAD_ADDRESS" }),
      );
    }
    expect(raw.requests).toEqual([]);
  });

  it.each([
    [{ timeoutMs: 0 }],
    [{ timeoutMs: Number.POSITIVE_INFINITY }],
    [{ timeoutMs: Number.NaN }],
    [{ timeoutMs: 2 ** 31 }],
    [{ retries: -1 }],
    [{ retries: 1.5 }],
    [{ retries: Number.POSITIVE_INFINITY }],
  ])("cannot ask for %j, which would be 1 ms or for ever", (options) => {
    expect(() => new AgentVault({ address: "https://vault.test", ...options })).toThrow(TypeError);
  });
});

describe("PEM that is none", () => {
  const other = createPemKey();
  it.each<[string, object]>([
    ["a path in the place of a CA", { ca: "/etc/ssl/ca.pem" }],
    ["a path in the place of a certificate", { certificate: { cert: "client.pem", key: "client-key.pem" } }],
    ["a key alone", { certificate: { cert: other, key: other } }],
  ])("is refused when the client is made: %s", (_name, options) => {
    expect(() => new AgentVault({ address: "https://vault.test", ...options })).toThrow(
      expect.objectContaining({
        name: "ValidationError",
        code: "CLIENT_REFUSED",
        hint: expect.stringContaining("PEM"),
      }),
    );
  });
});

describe("a call that failed", () => {
  const busy = answerOf(503, refusal("STORE_UNAVAILABLE"), { "retry-after": "2" });

  it("is made again after what the vault asks for, with the same idempotency key, when it only reads", async () => {
    await answering(busy, busy, answerOf(200, record));
    const pauses: number[] = [];
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY }, pauses);
    expect(await vault.getSecret(PATH)).toBe(VALUE);
    expect(pauses.map((ms) => Math.floor(ms / 1000))).toEqual([2, 2]);
    const keys = raw.requests.map((request) => headerOf(request, "idempotency-key"));
    expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(new Set(keys).size).toBe(1);
    await vault.getSecret(PATH);
    expect(headerOf(raw.requests[3], "idempotency-key")).not.toBe(keys[0]);
  });

  it.each([
    ["Sat, 28 Nov 2026 10:00:09 GMT", 9],
    ["Sat, 28 Nov 2026 09:00:00 GMT", 0],
    ["Sat, 28 Nov 2026 11:00:00 GMT", 3600],
    ["Saturday, 28-Nov-26 10:00:09 GMT", undefined],
    ["2026-11-28T10:00:09Z", undefined],
    ["-5", undefined],
    ["1e3", undefined],
  ])("waits until the date the vault gives, by the vault's own clock: %s", async (text, seconds) => {
    await answering(
      answerOf(429, refusal("RATE_LIMITED"), { date: "Sat, 28 Nov 2026 10:00:00 GMT", "retry-after": text }),
    );
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 0 });
    expect((await failureOf(vault.getSecret(PATH))).retryAfter).toBe(seconds);
  });

  it("is not made again for ever, nor after a pause nobody would wait for", async () => {
    await answering(busy);
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 2 });
    expect((await failureOf(vault.getSecret(PATH))).retryAfter).toBe(2);
    expect(raw.requests).toHaveLength(3);
    await raw.close();
    await answering(answerOf(429, refusal("RATE_LIMITED"), { "retry-after": "600" }));
    const other = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    expect(await failureOf(other.getSecret(PATH))).toMatchObject({ name: "RateLimitError", retryAfter: 600 });
    expect(raw.requests).toHaveLength(1);
  });

  it("is not made again when it may have changed something", async () => {
    const broken = "HTTP/1.1 200 Said\r\ncontent-le";
    for (const first of [busy, broken, answerOf(502, refusal("BACKEND_UNAVAILABLE"))]) {
      raw = await startRawVault((socket) => void socket.end(first));
      const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
      for (const work of [
        () => vault.setSecret(PATH, VALUE),
        () => vault.rotateSecret(PATH, VALUE),
        () => vault.deleteSecret(PATH),
        () => vault.requestToken({ scopes: ["secrets:read:a/b"] }),
        () => vault.agents.create({ name: "a" }),
      ]) {
        const before = raw.requests.length;
        await failureOf(work());
        expect(raw.requests.length - before).toBe(1);
      }
      await raw.close();
    }
  });

  it("is made again, even a change, when the vault took no notice of it", async () => {
    await answering(
      answerOf(429, refusal("RATE_LIMITED"), { "retry-after": "0" }),
      answerOf(503, refusal("DRAINING")),
      answerOf(201, record),
    );
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    expect((await vault.setSecret(PATH, VALUE)).version).toBe(3);
    const gone = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 2 }, []);
    await raw.close();
    const pauses: number[] = [];
    const unreachable = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 3 }, pauses);
    const error = await failureOf(unreachable.setSecret(PATH, VALUE));
    expect(error.detail).toBe(`Nothing listens at ${raw.address}.`);
    expect(pauses).toHaveLength(3);
    gone.close();
  });
});

describe("a connection", () => {
  it("serves many reads, and a change has one of its own", async () => {
    const ports: (number | undefined)[] = [];
    raw = await startRawVault((socket) => {
      ports.push(socket.remotePort);
      socket.write(answerOf(200, record));
    });
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    await vault.getSecret(PATH);
    await vault.getSecret(PATH);
    await vault.setSecret(PATH, VALUE);
    await vault.getSecret(PATH);
    expect(ports[1]).toBe(ports[0]);
    expect(ports[2]).not.toBe(ports[0]);
    expect(ports[3]).toBe(ports[0]);
    vault.close();
  });

  it("that the vault closed meanwhile costs no repetition", async () => {
    raw = await startRawVault((socket, _request, count) => {
      if (count === 2) socket.destroy();
      else socket.write(answerOf(200, record));
    });
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 0 });
    await vault.getSecret(PATH);
    expect(await vault.getSecret(PATH)).toBe(VALUE);
    expect(raw.requests).toHaveLength(3);
    vault.close();
  });
});

describe("redemption", () => {
  const key = createProofKey();
  const redeemed = { value: VALUE, version: 4, path: PATH, max_age: 60, hosts: ["api.x.test"] };

  it("proves each request with the sidecar's key: method, address, token and time", async () => {
    await answering(answerOf(200, redeemed));
    const vault = quickVault({ address: raw.address, token: TOKEN, sidecarKey: key });
    const found = await vault.redeem({ path: PATH, authority: "api.x.test:443", ifVersion: 3, agentName: "r" });
    if (found.unchanged) return expect.fail("it changed");
    expect(found.value.lend(String)).toBe(VALUE);
    expect(found).toMatchObject({ version: 4, path: PATH, maxAgeMs: 60_000, hosts: ["api.x.test"], replaced: [] });
    expect(JSON.stringify(found)).not.toContain(VALUE);

    const [request] = raw.requests;
    expect(lineOf(request)).toBe("POST /v1/redeem HTTP/1.1");
    expect(bodyOf(request)).toEqual({ path: PATH, if_version: 3, authority: "api.x.test:443", agent_name: "r" });
    expect(headerOf(request, "authorization")).toBe(`DPoP ${TOKEN}`);
    const proof = headerOf(request, "dpop") ?? "";
    const header: { jwk: JWK } = JSON.parse(Buffer.from(proof.split(".")[0] ?? "", "base64url").toString());
    expect(Object.keys(header.jwk).sort()).toEqual(["crv", "kty", "x", "y"]);
    // RFC 7638, by another library than the one that signed.
    expect(await calculateJwkThumbprint(header.jwk)).toBe(await calculateJwkThumbprint(key.publicJwk as JWK));
    const { payload, protectedHeader } = await compactVerify(proof, await importJWK(header.jwk, "ES256"));
    expect(protectedHeader).toMatchObject({ alg: "ES256", typ: "dpop+jwt" });
    const claims = JSON.parse(Buffer.from(payload).toString());
    expect(claims).toMatchObject({
      htm: "POST",
      htu: `${raw.address}/v1/redeem`,
      ath: createHash("sha256").update(TOKEN).digest("base64url"),
    });
    expect(Math.abs(claims.iat - Date.now() / 1000)).toBeLessThan(60);
  });

  it("never proves twice with the same id", async () => {
    await answering(answerOf(200, redeemed));
    const vault = quickVault({ address: raw.address, token: TOKEN, sidecarKey: key });
    await vault.redeem({ path: PATH, authority: "a:443" });
    await vault.redeem({ path: PATH, authority: "a:443" });
    const ids = raw.requests.map((request) => {
      const payload = headerOf(request, "dpop")?.split(".")[1] ?? "";
      return JSON.parse(Buffer.from(payload, "base64url").toString()).jti;
    });
    expect(new Set(ids).size).toBe(2);
  });

  const nonceOf = (request: string | undefined): unknown =>
    JSON.parse(Buffer.from(headerOf(request, "dpop")?.split(".")[1] ?? "", "base64url").toString()).nonce;

  it("proves again with the vault's nonce when it asks for one, and keeps it", async () => {
    const asks = answerOf(401, refusal("USE_DPOP_NONCE"), { "dpop-nonce": "n-1" });
    await answering(asks, answerOf(200, redeemed, { "dpop-nonce": "n-2" }), answerOf(200, redeemed));
    const vault = quickVault({ address: raw.address, token: TOKEN, sidecarKey: key, retries: 0 });
    await vault.redeem({ path: PATH, authority: "a:443" });
    await vault.redeem({ path: PATH, authority: "a:443" });
    expect(raw.requests.map(nonceOf)).toEqual([undefined, "n-1", "n-2"]);
    expect(headerOf(raw.requests[0], "idempotency-key")).toBe(headerOf(raw.requests[1], "idempotency-key"));
  });

  it("proves again for each of several calls at once that were asked for a nonce", async () => {
    raw = await startRawVault((socket, request) => {
      const isGood = nonceOf(request) === "n-1";
      const answer = isGood
        ? answerOf(200, redeemed)
        : answerOf(401, refusal("USE_DPOP_NONCE"), { "dpop-nonce": "n-1" });
      socket.write(answer);
    });
    const vault = quickVault({ address: raw.address, token: TOKEN, sidecarKey: key, retries: 0 });
    const all = await Promise.all([1, 2, 3].map(() => vault.redeem({ path: PATH, authority: "a:443" })));
    expect(all.map(({ version }) => version)).toEqual([4, 4, 4]);
    vault.close();
  });

  it("does not follow a vault that asks for nonce after nonce", async () => {
    raw = await startRawVault((socket, _request, count) => {
      socket.write(answerOf(401, refusal("USE_DPOP_NONCE"), { "dpop-nonce": `n-${count}` }));
    });
    const vault = quickVault({ address: raw.address, token: TOKEN, sidecarKey: key });
    expect((await failureOf(vault.redeem({ path: PATH, authority: "a:443" }))).code).toBe("CLIENT_UNAUTHORIZED");
    expect(raw.requests).toHaveLength(2);
  });

  it("hears that nothing changed only of the version it asked about, and takes no other secret", async () => {
    const vault = (): AgentVault => quickVault({ address: raw.address, token: TOKEN, sidecarKey: key });
    await answering(answerOf(200, { version: 3, unchanged: true }));
    expect(await vault().redeem({ path: PATH, authority: "a:443", ifVersion: 3 })).toEqual({
      version: 3,
      unchanged: true,
    });
    for (const request of [{ ifVersion: 2 }, {}]) {
      const error = await failureOf(vault().redeem({ path: PATH, authority: "a:443", ...request }));
      expect(error.code).toBe("CLIENT_BAD_ANSWER");
    }
    await raw.close();
    await answering(answerOf(200, { ...redeemed, path: "production/other/key" }));
    expect((await failureOf(vault().redeem({ path: PATH, authority: "a:443" }))).code).toBe("CLIENT_BAD_ANSWER");
  });

  it("is refused without the sidecar's key, before anything is sent", async () => {
    await answering(answerOf(200, redeemed));
    const vault = quickVault({ address: raw.address, token: TOKEN });
    expect((await failureOf(vault.redeem({ path: PATH, authority: "a:443" }))).code).toBe("CLIENT_UNAUTHORIZED");
    expect(raw.requests).toEqual([]);
  });

  it("asks for the token on every call, so that a renewed one is used", async () => {
    await answering(answerOf(200, redeemed));
    let count = 0;
    const token = (): string => `t-${++count}`;
    const vault = quickVault({ address: raw.address, token, sidecarKey: key });
    await vault.redeem({ path: PATH, authority: "a:443" });
    await vault.redeem({ path: PATH, authority: "a:443" });
    await vault.redeem({ path: PATH, authority: "a:443", token: "given" });
    expect(raw.requests.map((request) => headerOf(request, "authorization"))).toEqual([
      "DPoP t-1",
      "DPoP t-2",
      "DPoP given",
    ]);
  });
});
