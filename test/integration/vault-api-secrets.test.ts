/** Every call on secrets of a vault's server, over real sockets: who may make it, what comes of it, what is on record. */
import { describe, expect, it } from "vitest";
import { startTestVault, type TestVault } from "../support/vault/test-vault.ts";

const CANARY = "sk-canary-7e1f0c93b2a84d56";
const PATH = "production/search/api-key";

const put = (vault: TestVault, path: string, fields: object = {}) =>
  vault.call("PUT", `/v1/secrets/${path}`, { body: { value: CANARY, ...fields } });

const codeOf = ({ status, json }: { status: number; json: { error?: { code?: string } } }): string =>
  `${status} ${json?.error?.code}`;

const events = (vault: TestVault, path: string): unknown[] =>
  vault
    .audit()
    .filter(({ secret }) => secret === path)
    .map(({ event }) => event);

describe("a secret", () => {
  it("is made, read, changed, rotated, brought back, listed and removed, and each is on record", async () => {
    const vault = await startTestVault();
    const made = await put(vault, PATH, {
      secret_type: "api_key",
      access_tier: "standard",
      category: "provider",
      metadata: { owner: "search" },
      hosts: ["API.Search.test"],
      expires_at: "2099-01-01T00:00:00Z",
    });
    expect(made.status).toBe(201);
    expect(made.json).toEqual({
      id: expect.any(String),
      path: PATH,
      namespace: "production/search",
      key: "api-key",
      version: 1,
      secret_type: "api_key",
      access_tier: "standard",
      category: "provider",
      metadata: { owner: "search" },
      hosts: ["api.search.test"],
      expires_at: "2099-01-01T00:00:00.000Z",
      created_at: expect.any(String),
      updated_at: expect.any(String),
    });
    expect(made.text).not.toContain(CANARY);

    for (const spelling of [
      PATH,
      PATH.replaceAll("/", "%2F"),
      PATH.replace("/", "%2f"),
      PATH.replace("search", "se%61rch"),
    ]) {
      const { status, json } = await vault.call("GET", `/v1/secrets/${spelling}`);
      expect([spelling, status, json.value, json.path]).toEqual([spelling, 200, CANARY, PATH]);
    }
    expect((await put(vault, PATH, { value: "second" })).status).toBe(200);
    expect((await vault.call("GET", `/v1/secrets/${PATH}?version=1`)).json).toMatchObject({
      value: CANARY,
      version: 1,
    });

    const patched = await vault.call("PATCH", `/v1/secrets/${PATH}`, {
      body: { metadata: { owner: "ops" }, expires_at: null },
    });
    expect(patched.json).toMatchObject({ version: 2, metadata: { owner: "ops" } });
    expect(patched.json.expires_at).toBeUndefined();

    const rotated = await vault.call("POST", `/v1/secrets/${PATH}/rotate`, {
      body: { new_value: "third", grace: "1h" },
    });
    expect(rotated.json).toMatchObject({ version: 3 });
    expect((await vault.call("GET", `/v1/secrets/${PATH}?version=2`)).json.value).toBe("second");

    const back = await vault.call("POST", `/v1/secrets/${PATH}/rollback`, { body: { version: 2 } });
    expect(back.json.version).toBe(4);
    expect((await vault.call("GET", `/v1/secrets/${PATH}`)).json.value).toBe("second");

    const history = await vault.call("GET", `/v1/secrets/${PATH}/history`);
    expect(history.json.items.map((one: { version: number }) => one.version)).toEqual([4, 3, 2, 1]);
    expect(history.json.items[0]).toMatchObject({ by: "operator", restored: 2 });

    expect((await vault.call("DELETE", `/v1/secrets/${PATH}`)).status).toBe(204);
    expect(codeOf(await vault.call("GET", `/v1/secrets/${PATH}`))).toBe("404 SECRET_NOT_FOUND");
    expect(events(vault, PATH)).toEqual([
      "secret.created",
      ...Array(4).fill("secret.read"),
      "secret.updated",
      "secret.read",
      "secret.updated",
      "secret.rotated",
      "secret.read",
      "secret.rolled_back",
      "secret.read",
      "secret.deleted",
    ]);
    const record = vault.audit().find(({ event }) => event === "secret.read");
    expect(record).toMatchObject({ actor_type: "operator", agent: "operator", ip: "127.0.0.1", version: "1" });
  });

  it("is created once: a second time is a conflict, and a namespace may not share its path", async () => {
    const vault = await startTestVault();
    const create = (body: object) => vault.call("POST", "/v1/secrets", { body: { value: CANARY, ...body } });
    expect((await create({ namespace: "a/b", key: "c" })).status).toBe(201);
    expect(codeOf(await create({ path: "a/b/c" }))).toBe("409 CONFLICT");
    expect(codeOf(await create({ path: "a/b" }))).toBe("409 CONFLICT");
    expect(codeOf(await create({ path: "a/b/c/d" }))).toBe("409 CONFLICT");
    expect(codeOf(await create({ namespace: "a" }))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await create({ path: "x/y", reference: { backend: "aws_sm", ref: "arn:x" } }))).toBe(
      "400 VALIDATION_ERROR",
    );
    expect(codeOf(await vault.call("POST", "/v1/secrets", { body: { path: "x/y" } }))).toBe("400 VALIDATION_ERROR");
  });

  it("that is removed while it gets a new value stays removed", async () => {
    const vault = await startTestVault();
    for (let round = 0; round < 40; round += 1) {
      const path = `/v1/secrets/a/r${round}`;
      await vault.call("PUT", path, { body: { value: "one" } });
      const [patched, removed] = await Promise.all([
        vault.call("PATCH", path, { body: { value: "two" } }),
        vault.call("DELETE", path),
      ]);
      expect(removed.status).toBe(204);
      expect([200, 404]).toContain(patched.status);
      if (patched.status === 200) expect(patched.json.version).toBe(2);
      expect((await vault.call("GET", path)).status, `round ${round}`).toBe(404);
    }
  });

  it("that is kept elsewhere is known, and its value is out of reach", async () => {
    const vault = await startTestVault();
    const reference = { backend: "aws_sm", ref: "arn:aws:secretsmanager:eu:1:secret:x" };
    const made = await vault.call("PUT", "/v1/secrets/a/b", { body: { reference } });
    expect([made.status, made.json.reference]).toEqual([201, reference]);
    const read = await vault.call("GET", "/v1/secrets/a/b");
    expect([codeOf(read), read.headers.get("retry-after")]).toEqual(["502 BACKEND_UNAVAILABLE", "5"]);
  });

  it("whose time is over is gone, and that it ended is told once", async () => {
    const vault = await startTestVault();
    await put(vault, "a/b", { expires_at: new Date(Date.now() + 3_000).toISOString() });
    await expect.poll(async () => codeOf(await vault.call("GET", "/v1/secrets/a/b"))).toBe("410 SECRET_EXPIRED");
    await expect.poll(() => events(vault, "a/b").filter((event) => event === "secret.expired").length).toBe(1);
    expect(vault.audit().find(({ event }) => event === "secret.expired")).toMatchObject({ actor_type: "system" });
  });

  it("without a value of the caller's is rotated to 32 random bytes, if it is of type custom", async () => {
    const vault = await startTestVault();
    await put(vault, "a/custom");
    await put(vault, "a/typed", { secret_type: "api_key" });
    // As some clients do: JSON is announced, and nothing follows.
    const headers = { "content-type": "application/json" };
    expect((await vault.call("POST", "/v1/secrets/a/custom/rotate", { headers })).json.version).toBe(2);
    expect((await vault.call("POST", "/v1/secrets/a/custom/rotate")).json.version).toBe(3);
    expect((await vault.call("GET", "/v1/secrets/a/custom")).json.value).toMatch(/^[\w-]{43}$/);
    expect(codeOf(await vault.call("POST", "/v1/secrets/a/typed/rotate"))).toBe("400 VALIDATION_ERROR");
    expect(codeOf(await vault.call("POST", "/v1/secrets/a/none/rotate"))).toBe("404 SECRET_NOT_FOUND");
    expect((await vault.call("DELETE", "/v1/secrets/a/typed", { headers })).status).toBe(204);
  });

  it("of a path that ends in an action's word is itself", async () => {
    const vault = await startTestVault();
    await put(vault, "a/history", { value: "of-history" });
    await put(vault, "a/rotate", { value: "of-rotate" });
    expect((await vault.call("GET", "/v1/secrets/a/rotate")).json.value).toBe("of-rotate");
    expect((await vault.call("GET", "/v1/secrets/a%2Fhistory")).json.value).toBe("of-history");
  });
});

describe("a value", () => {
  it("that UTF-8 cannot spell is refused, not stored as another one", async () => {
    const vault = await startTestVault();
    for (const value of ["\ud800abc", "abc\udfff", "a\udc00\ud800b"]) {
      expect(codeOf(await put(vault, PATH, { value }))).toBe("400 VALIDATION_ERROR");
    }
    const pair = "a\u{1f511}b";
    expect((await put(vault, PATH, { value: pair })).status).toBe(201);
    expect((await vault.call("GET", `/v1/secrets/${PATH}`)).json.value).toBe(pair);
    const rotated = await vault.call("POST", `/v1/secrets/${PATH}/rotate`, { body: { new_value: "\ud800" } });
    expect(codeOf(rotated)).toBe("400 VALIDATION_ERROR");
  });

  it("of other bytes, which only the machine's own commands can store, is not handed out changed", async () => {
    const vault = await startTestVault();
    const { openVault, vaultKeySource } = await import("../../src/vault/index.ts");
    const { SecretValue } = await import("../../src/core/secret-value.ts");
    const { systemClock } = await import("../../src/core/clock.ts");
    const keys = vaultKeySource({ baseDir: vault.state, stateDir: vault.state, environment: {} });
    const store = await openVault({ directory: `${vault.state}/vault`, keys, clock: systemClock });
    await store.secrets.set(PATH, new SecretValue(Buffer.from([0xc3, 0x28, 0x41])));
    await store.close();
    expect(codeOf(await vault.call("GET", `/v1/secrets/${PATH}`))).toBe("400 VALIDATION_ERROR");
  });
});

describe("a list", () => {
  it("holds names and facts of what the caller may know of, page by page, and never a value", async () => {
    const vault = await startTestVault();
    for (const path of ["p/a/1", "p/a/2", "p/b/1", "q/c/1"])
      await put(vault, path, { category: path.startsWith("p") ? "provider" : "agent" });
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:p/*"] });
    const token = await vault.token(key, { scopes: ["secrets:read:p/a/*"] });
    const paths = async (query: string, as = vault.operatorKey) => {
      const { json, text, status } = await vault.call("GET", query, { as });
      expect([query, status]).toEqual([query, 200]);
      expect(text).not.toContain(CANARY);
      return [json.namespace, json.items.map((one: { path: string }) => one.path), json.total];
    };
    expect(await paths("/v1/secrets")).toEqual(["", ["p/a/1", "p/a/2", "p/b/1", "q/c/1"], 4]);
    expect(await paths("/v1/secrets?namespace=p/a")).toEqual(["p/a", ["p/a/1", "p/a/2"], 2]);
    expect(await paths("/v1/secrets?namespace=p%2Fa")).toEqual(["p/a", ["p/a/1", "p/a/2"], 2]);
    expect(await paths("/v1/secrets?category=agent")).toEqual(["", ["q/c/1"], 1]);
    expect(await paths("/v1/secrets?page=2&limit=3")).toEqual(["", ["q/c/1"], 4]);
    expect(await paths("/v1/secrets/p")).toEqual(["p", ["p/a/1", "p/a/2", "p/b/1"], 3]);
    expect(await paths("/v1/secrets/p/a")).toEqual(["p/a", ["p/a/1", "p/a/2"], 2]);
    expect(await paths("/v1/secrets/p", token)).toEqual(["p", ["p/a/1", "p/a/2"], 2]);
    expect(await paths("/v1/secrets", token)).toEqual(["", ["p/a/1", "p/a/2"], 2]);
    const namespaces = await vault.call("GET", "/v1/namespaces", { as: token });
    expect(namespaces.json.items).toEqual([{ namespace: "p/a", secret_count: 2 }]);
    expect(codeOf(await vault.call("GET", "/v1/secrets/none"))).toBe("404 SECRET_NOT_FOUND");
    expect(codeOf(await vault.call("GET", "/v1/secrets/q/c", { as: token }))).toBe("403 SCOPE_DENIED");
    for (const query of ["page=0", "limit=0", "limit=1001", "page=1.5", "limit=x", "verison=2", "namespace=a//b"]) {
      expect([query, codeOf(await vault.call("GET", `/v1/secrets?${query}`))]).toEqual([query, "400 VALIDATION_ERROR"]);
    }
  });
});

describe("an import", () => {
  it("stores the lines of a .env file, all or none, or only tells", async () => {
    const vault = await startTestVault();
    const content = `OPENAI_API_KEY=${CANARY}\nEMPTY=\nTAVILY_API_KEY='tvly-x'\n`;
    const send = (body: object) =>
      vault.call("POST", "/v1/secrets/import", { body: { namespace: "app/prod", content, ...body } });
    const told = await send({ dry_run: true });
    expect(told.json).toEqual({
      namespace: "app/prod",
      imported: ["OPENAI_API_KEY", "TAVILY_API_KEY"],
      imported_count: 2,
      skipped: ["EMPTY"],
      keys: ["OPENAI_API_KEY", "TAVILY_API_KEY", "EMPTY"],
      dry_run: true,
    });
    expect((await vault.call("GET", "/v1/secrets")).json.total).toBe(0);
    expect((await send({ secret_type: "api_key" })).json.imported_count).toBe(2);
    expect((await vault.call("GET", "/v1/secrets/app/prod/OPENAI_API_KEY")).json).toMatchObject({
      value: CANARY,
      secret_type: "api_key",
    });
    expect((await send({})).json).toMatchObject({ imported: [], imported_count: 0 });
    const changed = content.replace("tvly-x", "tvly-y");
    expect((await send({ content: changed, overwrite: false })).json.imported).toEqual([]);
    expect((await send({ content: changed })).json.imported).toEqual(["TAVILY_API_KEY"]);
    const bad = await send({ content: `GOOD=1\nBAD="${CANARY}` });
    expect(codeOf(bad)).toBe("400 VALIDATION_ERROR");
    expect(bad.text).not.toContain(CANARY);
    expect(codeOf(await vault.call("GET", "/v1/secrets/app/prod/GOOD"))).toBe("404 SECRET_NOT_FOUND");
    expect(vault.audit().filter(({ event }) => event === "secret.imported")).toHaveLength(3);
  });

  it("is for whoever may write every one of its names", async () => {
    const vault = await startTestVault();
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:write:app/A"] });
    const send = (content: string) =>
      vault.call("POST", "/v1/secrets/import", { as: key, body: { namespace: "app", content } });
    expect(codeOf(await send("A=1\nB=2\n"))).toBe("403 SCOPE_DENIED");
    expect((await vault.call("GET", "/v1/secrets")).json.total).toBe(0);
    expect((await send("A=1\n")).status).toBe(200);
  });
});

describe("who may", () => {
  const ACTIONS = {
    read: ["GET", "/v1/secrets/a/x", undefined],
    write: ["PUT", "/v1/secrets/a/x", { value: "v" }],
    create: ["POST", "/v1/secrets", { path: "a/x", value: "v" }],
    patch: ["PATCH", "/v1/secrets/a/x", { metadata: {} }],
    rotate: ["POST", "/v1/secrets/a/x/rotate", {}],
    rollback: ["POST", "/v1/secrets/a/x/rollback", { version: 1 }],
    history: ["GET", "/v1/secrets/a/x/history", undefined],
    delete: ["DELETE", "/v1/secrets/a/x", undefined],
  } as const;

  it.each([
    ["secrets:read:a/*", ["read", "history"]],
    ["secrets:use:a/*", ["history"]],
    ["secrets:write:a/*", ["write", "create", "patch", "rotate", "rollback", "history"]],
    ["secrets:delete:a/*", ["delete"]],
    ["secrets:*:a/*", ["read", "write", "create", "patch", "rotate", "rollback", "history", "delete"]],
    ["secrets:*:b/*", []],
  ])("with %s: %j", async (scope, allowed) => {
    const vault = await startTestVault();
    const key = await vault.agent("bot", { allowed_scopes: [scope] });
    const token = await vault.token(key, { scopes: [scope] });
    for (const as of [key, token]) {
      const may: string[] = [];
      for (const [name, [method, path, body]] of Object.entries(ACTIONS)) {
        await put(vault, "a/x");
        const { status, json } = await vault.call(method, path, { as, body });
        // Nothing but a refusal says no: a conflict was let through.
        if (status !== 403) may.push(name);
        else expect(json.error.code).toBe("SCOPE_DENIED");
      }
      expect(may.sort()).toEqual([...allowed].sort());
    }
    expect(codeOf(await vault.call("GET", "/v1/secrets/a/x", { as: null }))).toBe("401 UNAUTHORIZED");
  });

  it("is bound by an agent's namespaces as well", async () => {
    const vault = await startTestVault();
    await put(vault, "a/x");
    await put(vault, "b/x");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:read:*"], allowed_namespaces: ["a"] });
    expect((await vault.call("GET", "/v1/secrets/a/x", { as: key })).status).toBe(200);
    expect(codeOf(await vault.call("GET", "/v1/secrets/b/x", { as: key }))).toBe("403 SCOPE_DENIED");
  });

  it("has to have somebody's word for a higher tier, also where it was raised since, and to lower it", async () => {
    const vault = await startTestVault();
    await put(vault, "a/x");
    const key = await vault.agent("bot", { allowed_scopes: ["secrets:*:a/*"] });
    const token = await vault.token(key, { scopes: ["secrets:*:a/*"] });
    expect((await vault.call("GET", "/v1/secrets/a/x", { as: token })).status).toBe(200);
    await vault.call("PATCH", "/v1/secrets/a/x", { body: { access_tier: "sensitive" } });
    for (const as of [token, key]) {
      for (const [name, [method, path, body]] of Object.entries(ACTIONS)) {
        if (name === "history") continue;
        const tried = [name, codeOf(await vault.call(method, path, { as, body }))];
        expect(tried).toEqual([name, "403 APPROVAL_REQUIRED"]);
      }
      expect(codeOf(await vault.call("PATCH", "/v1/secrets/a/x", { as, body: { access_tier: "standard" } }))).toBe(
        "403 APPROVAL_REQUIRED",
      );
    }
    expect(vault.audit().filter(({ event }) => event === "secret.read.denied")[0]).toMatchObject({
      code: "IDENTITY_APPROVAL_REQUIRED",
      status: 403,
      secret: "a/x",
      actor_type: "token",
    });
  });
});

describe("what a caller says of itself", () => {
  it("is on record, from headers or the query", async () => {
    const vault = await startTestVault();
    await put(vault, "a/x");
    const headers = { "x-agent-name": "planner", "x-reason": "to answer a question", "x-request-id": "my-id-1" };
    expect((await vault.call("GET", "/v1/secrets/a/x", { headers })).headers.get("x-request-id")).toBe("my-id-1");
    await vault.call("GET", "/v1/secrets/a/x?agent_name=writer&reason=a%20report");
    const reads = vault.audit().filter(({ event }) => event === "secret.read");
    expect(reads).toMatchObject([
      { request_id: "my-id-1", agent_name: "planner", reason: "to answer a question" },
      { agent_name: "writer", reason: "a report" },
    ]);
  });
});
