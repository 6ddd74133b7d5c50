/** Two replicas of a vault server on one PostgreSQL, as a balancer would show them: one public URL, two sockets. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { generateFernetKey } from "../../src/vault/barrier/fernet.ts";
import { openSharedVault } from "../../src/vault/index.ts";
import { loadVaultConfig } from "../../src/vault/server/config/config.ts";
import { startVaultServer } from "../../src/vault/server/lifecycle.ts";
import { noPostgres, type PostgresServer, startPostgres } from "../support/postgres.ts";
import { createProofKey, makeProof } from "../support/proofs.ts";

const absent = noPostgres();
const PUBLIC = "https://vault.test";
const CANARY = "sk-canary-9d31c2ab77";

let server: PostgresServer | undefined;
beforeAll(async () => {
  if (absent === undefined) server = await startPostgres();
});
afterAll(() => server?.close());

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

type Call = (
  method: string,
  path: string,
  options?: { readonly as?: string; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> },
) => Promise<Answer>;

interface Replica {
  readonly url: string;
  readonly call: Call;
}

const startReplica = async (environment: Readonly<Record<string, string>>, operatorKey: string): Promise<Replica> => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-replica-"));
  const text = `version: 1\nlisten: 127.0.0.1:0\npublic_url: ${PUBLIC}\nstorage: { kind: postgres, url: { env: VAULT_DB } }\n`;
  const loaded = loadVaultConfig({ file: join(directory, "vault.yaml"), text });
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const started = await startVaultServer({ config: loaded.config, environment, log: silentLog });
  onTestFinished(async () => {
    await started.drain(100);
    rmSync(directory, { recursive: true, force: true });
  });
  const url = started.ready.address;
  return {
    url,
    async call(method, path, { as = operatorKey, body, headers = {} } = {}) {
      const answer = await fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${as}`,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const answered = await answer.text();
      return {
        status: answer.status,
        headers: answer.headers,
        json: answered === "" ? undefined : JSON.parse(answered),
      };
    },
  };
};

const stage = async () => {
  const url = (await server?.createDatabase()) ?? "";
  const environment = { VAULT_DB: url, FERNET_SECRET_KEY: generateFernetKey() };
  const keys = { text: environment.FERNET_SECRET_KEY, where: "variable FERNET_SECRET_KEY" };
  const vault = await openSharedVault({ url, keys, clock: systemClock, log: silentLog });
  const { key } = await vault.agents.create({ name: "operator", kind: "operator" });
  await vault.close();
  const [a, b] = [await startReplica(environment, key), await startReplica(environment, key)];
  const created = await a.call("POST", "/v1/agents", {
    body: { name: "bot", allowed_scopes: ["secrets:use:p/*", "secrets:read:p/*"] },
  });
  const agentKey: string = created.json.api_key;
  const token = async (at: Replica, fields: object): Promise<{ readonly text: string; readonly id: string }> => {
    const { json } = await at.call("POST", "/v1/tokens", { as: agentKey, body: fields });
    return { text: json.token, id: json.token_id };
  };
  return { a, b, agentKey, token };
};

/** The text of a stream so far. */
const hear = async (
  url: string,
  headers: Readonly<Record<string, string>>,
  ended: () => void = () => {},
): Promise<() => string> => {
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const answer = await fetch(`${url}/v1/events`, { headers, signal: abort.signal });
  if (answer.status !== 200 || answer.body === null) throw new Error(`${answer.status} ${await answer.text()}`);
  let text = "";
  const read = async (body: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of body) text += decoder.decode(chunk, { stream: true });
  };
  read(answer.body)
    .catch(() => {})
    .finally(ended);
  return () => text;
};

describe.skipIf(absent !== undefined)(`two replicas${absent === undefined ? "" : ` (${absent})`}`, () => {
  it("know what the other one was told: secrets, tokens, and their end", async () => {
    const { a, b, token } = await stage();
    expect((await a.call("PUT", "/v1/secrets/p/key", { body: { value: CANARY } })).status).toBe(201);
    const { text: as, id } = await token(b, { scopes: ["secrets:read:p/*"] });
    for (const replica of [a, b]) {
      expect(await replica.call("GET", "/v1/secrets/p/key", { as })).toMatchObject({
        status: 200,
        json: { value: CANARY },
      });
    }
    expect((await b.call("POST", "/v1/secrets/p/key/rotate", { body: { new_value: `${CANARY}-2` } })).status).toBe(200);
    expect((await a.call("GET", "/v1/secrets/p/key", { as })).json).toMatchObject({ value: `${CANARY}-2`, version: 2 });
    expect((await a.call("DELETE", `/v1/tokens/${id}`)).status).toBe(204);
    expect((await b.call("GET", "/v1/secrets/p/key", { as })).status).toBe(401);
  });

  it("let a token of one use be used at one of them", async () => {
    const { a, b, token } = await stage();
    await a.call("PUT", "/v1/secrets/p/key", { body: { value: CANARY } });
    for (let round = 0; round < 5; round += 1) {
      const { text: as } = await token(a, { scopes: ["secrets:read:p/*"], max_uses: 1 });
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, n) => (n % 2 === 0 ? a : b).call("GET", "/v1/secrets/p/key", { as })),
      );
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    }
  });

  it("make a change once that comes to both under one Idempotency-Key, and give one answer to it", {
    timeout: 120_000,
  }, async () => {
    const { a: one, b: other } = await stage();
    const fields = { name: "keyed", allowed_scopes: ["secrets:*:p/*"] };
    const agentKey: string = (await one.call("POST", "/v1/agents", { body: fields })).json.api_key;
    const { json: token } = await one.call("POST", "/v1/tokens", {
      as: agentKey,
      body: { scopes: ["secrets:*:p/*"], max_uses: 1 },
    });
    const put = ({ call }: Replica, value = "one") =>
      call("PUT", "/v1/secrets/p/a", { as: token.token, body: { value }, headers: { "idempotency-key": "once" } });
    const answers = await Promise.all([put(one), put(other)]);
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(answers[1]?.json).toEqual(answers[0]?.json);
    expect(answers.map(({ headers }) => headers.get("idempotent-replayed")).sort()).toEqual(["true", null].sort());
    for (const replica of [one, other]) expect((await put(replica)).json).toEqual(answers[0]?.json);
    expect((await put(other, "two")).status).toBe(422);
    expect((await one.call("GET", "/v1/secrets/p/a")).json).toMatchObject({ version: 1, value: "one" });
  });

  it("take a proof once, whichever of them it is shown to first, and tell a sidecar of the other's changes", async () => {
    const { a, b, agentKey, token } = await stage();
    const key = createProofKey();
    await b.call("POST", "/v1/sidecars", { as: agentKey, body: { name: "side", jwk: key.jwk } });
    await a.call("PUT", "/v1/secrets/p/key", { body: { value: CANARY } });
    const { text } = await token(a, { scopes: ["secrets:use:p/*"] });
    const proven = (method: string, path: string): Readonly<Record<string, string>> => ({
      authorization: `DPoP ${text}`,
      dpop: makeProof(key, { method, url: `${PUBLIC}${path}`, token: text }),
    });
    const body = { path: "p/key", authority: "api.test" };
    for (const [first, then] of [
      [a, b],
      [b, a],
    ] as const) {
      const headers = proven("POST", "/v1/redeem");
      expect((await first.call("POST", "/v1/redeem", { body, headers })).json.value).toBe(CANARY);
      expect((await then.call("POST", "/v1/redeem", { body, headers })).status).toBe(401);
    }
    const heard = await hear(b.url, proven("GET", "/v1/events"));
    await expect.poll(heard).toContain("event: ready");
    await a.call("PUT", "/v1/secrets/p/key", { body: { value: `${CANARY}-2` } });
    await expect.poll(heard).toContain("event: secret.updated");
    expect(heard()).not.toContain(CANARY);
  });

  it("end their streams when the database does not answer: a silent one would mean that nothing is revoked", {
    timeout: 60_000,
  }, async () => {
    const { a, b, agentKey, token } = await stage();
    const key = createProofKey();
    await b.call("POST", "/v1/sidecars", { as: agentKey, body: { name: "side", jwk: key.jwk } });
    const { text } = await token(a, { scopes: ["secrets:use:p/*"] });
    const open = new Set<Replica>();
    for (const replica of [a, b]) {
      const dpop = makeProof(key, { method: "GET", url: `${PUBLIC}/v1/events`, token: text });
      open.add(replica);
      const headers = { authorization: `DPoP ${text}`, dpop };
      const heard = await hear(replica.url, headers, () => open.delete(replica));
      await expect.poll(heard).toContain("event: ready");
    }
    server?.pause();
    try {
      await expect.poll(() => open.size).toBe(0);
    } finally {
      server?.resume();
    }
  });

  it("answer 503 while there is no database, and go on when it is back", { timeout: 60_000 }, async () => {
    const { a, b } = await stage();
    await a.call("PUT", "/v1/secrets/p/key", { body: { value: CANARY } });
    await server?.stop("immediate");
    try {
      for (const replica of [a, b]) {
        const { status, headers, json } = await replica.call("GET", "/v1/secrets/p/key");
        expect([status, json.error.code]).toEqual([503, "STORE_UNAVAILABLE"]);
        expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
        expect((await replica.call("GET", "/v1/health")).status).toBe(503);
      }
    } finally {
      await server?.start();
    }
    for (const replica of [a, b]) {
      await expect.poll(async () => (await replica.call("GET", "/v1/secrets/p/key")).json.value).toBe(CANARY);
      await expect.poll(async () => (await replica.call("GET", "/v1/health")).status).toBe(200);
    }
  });
});
