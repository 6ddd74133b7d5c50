/** What an agent that was given a key and some tokens tries, to get more than they say. Over real sockets. */
import { describe, expect, it, onTestFinished } from "vitest";
import { createProofKey, makeProof, type ProofKey } from "../support/proofs.ts";
import { openConnection } from "../support/raw-client.ts";
import { startTestVault, type TestAnswer, type TestVault } from "../support/vault/test-vault.ts";

const CANARY = "sk-canary-7be0c41f9a2d4386";

const codeOf = ({ status, json }: TestAnswer): string => `${status} ${json?.error?.code}`;

const store = (vault: TestVault, path: string, value = CANARY, fields: object = {}) =>
  vault.call("PUT", `/v1/secrets/${path}`, { body: { value, ...fields } });

const enrol = async (vault: TestVault, as: string, key: ProofKey): Promise<string> => {
  const { status, json } = await vault.call("POST", "/v1/sidecars", { as, body: { name: "side", jwk: key.jwk } });
  expect(status).toBe(201);
  return json.id;
};

/** A stream of events: what it said so far. */
const listen = async (vault: TestVault, key: ProofKey, token: string) => {
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const proof = makeProof(key, { method: "GET", url: `${vault.url}/v1/events`, token });
  const headers = { authorization: `DPoP ${token}`, dpop: proof };
  const response = await fetch(`${vault.url}/v1/events`, { headers, signal: abort.signal });
  const state = { text: "", isOver: false };
  const read = async (): Promise<void> => {
    for await (const chunk of response.body ?? []) state.text += Buffer.from(chunk).toString();
  };
  read()
    .catch(() => {})
    .finally(() => {
      state.isOver = true;
    });
  return state;
};

describe("a token of one use", () => {
  it("makes one change, whatever Idempotency-Key comes with the others", async () => {
    const vault = await startTestVault();
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:*:p/*"] });
    const as = await vault.token(key, { scopes: ["secrets:*:p/*"], max_uses: 1 });
    const headers = { "idempotency-key": "once" };
    const make = (body: object) => vault.call("POST", "/v1/secrets", { as, headers, body });
    expect((await make({ path: "p/a", value: "first" })).status).toBe(201);
    expect(codeOf(await make({ path: "p/b", value: "second" }))).toBe("422 IDEMPOTENCY_KEY_REUSED");
    expect(codeOf(await make({ path: "p/a", value: "other" }))).toBe("422 IDEMPOTENCY_KEY_REUSED");
    headers["idempotency-key"] = "another";
    expect(codeOf(await make({ path: "p/b", value: "second" }))).toBe("401 UNAUTHORIZED");
    expect((await vault.call("GET", "/v1/secrets")).json.items.map(({ path }: { path: string }) => path)).toEqual([
      "p/a",
    ]);
  });

  it("tells nothing more once it is used: no list, no history, no dry run", async () => {
    const vault = await startTestVault();
    await store(vault, "p/a");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:*:p/*"] });
    const as = await vault.token(key, { scopes: ["secrets:*:p/*"], max_uses: 1 });
    expect((await vault.call("GET", "/v1/secrets/p/a", { as })).json.value).toBe(CANARY);
    const dry = { namespace: "p", content: "a=x\n", dry_run: true };
    expect(codeOf(await vault.call("GET", "/v1/secrets/p", { as }))).toBe("401 UNAUTHORIZED");
    expect(codeOf(await vault.call("GET", "/v1/secrets/p/a/history", { as }))).toBe("401 UNAUTHORIZED");
    expect(codeOf(await vault.call("POST", "/v1/secrets/import", { as, body: dry }))).toBe("401 UNAUTHORIZED");
  });
});

describe("a token that writes and does not read", () => {
  it("is not told whether a value that it guesses is the one that is there", async () => {
    const vault = await startTestVault();
    await store(vault, "p/PIN", "4711");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:write:p/*"] });
    const as = await vault.token(key, { scopes: ["secrets:write:p/*"] });
    const guess = async (pin: string, dryRun: boolean) => {
      const body = { namespace: "p", content: `PIN=${pin}\n`, dry_run: dryRun };
      const { json } = await vault.call("POST", "/v1/secrets/import", { as, body });
      return { imported: json.imported, skipped: json.skipped };
    };
    expect(await guess("4711", true)).toEqual(await guess("0815", true));
    expect(await guess("4711", false)).toEqual({ imported: ["PIN"], skipped: [] });
    const reader = { namespace: "p", content: "PIN=4711\n", dry_run: true };
    expect((await vault.call("POST", "/v1/secrets/import", { body: reader })).json.skipped).toEqual(["PIN"]);
  });
});

describe("another agent's sidecar", () => {
  it("hears nothing of what an agent does with its thumbprint", async () => {
    const vault = await startTestVault();
    const [bot, other] = [
      await vault.agent("bot", { allowed_scopes: ["secrets:use:p/*"] }),
      await vault.agent("other", { allowed_scopes: ["secrets:use:q/*"] }),
    ];
    const key = createProofKey();
    await enrol(vault, bot, key);
    const stream = await listen(vault, key, await vault.token(bot, { scopes: ["secrets:use:p/*"] }));
    await expect.poll(() => stream.text).toContain("event: ready");
    await enrol(vault, other, key);
    expect((await vault.call("DELETE", `/v1/sidecars/${key.jkt}`, { as: other })).status).toBe(204);
    await store(vault, "p/after");
    await expect.poll(() => stream.text).toContain("p/after");
    expect([stream.text.includes("sidecar.revoked"), stream.isOver]).toEqual([false, false]);
  });
});

describe("a request that is held open", () => {
  it("does not outlive the key that it began with", async () => {
    let ahead = 0;
    const clock = { now: () => Date.now() + ahead, monotonic: () => performance.now() + ahead };
    const vault = await startTestVault({ clock });
    const { json: mallory } = await vault.call("POST", "/v1/agents", { body: { name: "mallory", operator: true } });
    const body = JSON.stringify({ name: "back-door", operator: true });
    const held = await openConnection(Number(new URL(vault.url).port));
    onTestFinished(() => held.destroy());
    held.send(
      `POST /v1/agents HTTP/1.1\r\nHost: v\r\nAuthorization: Bearer ${mallory.api_key}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 5)}`,
    );
    // Its key was taken by now.
    const known = async () => (await vault.call("GET", "/v1/agents")).json.items;
    await expect
      .poll(async () => (await known()).find(({ id }: { id: string }) => id === mallory.id).last_active_at)
      .toBeDefined();
    expect((await vault.call("DELETE", `/v1/agents/${mallory.id}`)).status).toBe(204);
    ahead = 2_000;
    held.send(body.slice(5));
    expect((await held.receive("POST")).status).toBe(401);
    expect((await known()).map(({ name }: { name: string }) => name).sort()).toEqual(["mallory", "operator"]);
  });
});

describe("a wish that no token can be made of", () => {
  it("is refused before a person is asked about it", async () => {
    const vault = await startTestVault({ yaml: "tokens: { max_ttl: 1h }\n" });
    await store(vault, "p/a", CANARY, { access_tier: "critical" });
    const as = await vault.agent("bot", { allowed_scopes: ["secrets:use:p/*"] });
    for (const odd of [{ ttl: "2h" }, { ttl: 0 }, { ip_allowlist: ["10.1.2.3/8"] }, { description: "a\nb" }]) {
      const wish = { scopes: ["secrets:use:p/a"], ...odd };
      expect([odd, codeOf(await vault.call("POST", "/v1/tokens", { as, body: wish }))]).toEqual([
        odd,
        "400 VALIDATION_ERROR",
      ]);
    }
    expect((await vault.call("GET", "/v1/approvals")).json.total).toBe(0);
  });
});

describe("the limit of an agent's requests", () => {
  it("is one for its key and all its tokens", async () => {
    const vault = await startTestVault({ yaml: "limits: { requests_per_minute: 5 }\n" });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const other = await vault.agent("other", { allowed_scopes: ["secrets:read:p/*"] });
    const tokens: string[] = [];
    for (let at = 0; at < 3; at += 1) tokens.push(await vault.token(key, { scopes: ["secrets:read:p/*"] }));
    const asked = [];
    for (const as of [...tokens, key]) asked.push((await vault.call("GET", "/v1/me", { as })).status);
    expect(asked).toEqual([200, 200, 429, 429]);
    expect((await vault.call("GET", "/v1/me", { as: other })).status).toBe(200);
  });
});
