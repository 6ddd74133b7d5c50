/**
 * The source `sidekey` against the real vault server, in one process: first tokens, rotation, revocation, and a vault that is
 * away, slow or out of its mind (guarantees.md R1 to R6, ruling 10).
 */
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { API, OTHER, startVaultStage } from "../support/vault/vault-stage.ts";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const KEY = "canary-key-51a09be2c7d84f36";
const UNAVAILABLE = [503, "SOURCE_UNAVAILABLE"];
const OK = [200, undefined];

/** Requests one after the other for so long; what they came to. */
const askFor = async (ms: number, ask: () => Promise<readonly [number, string | undefined]>) => {
  const answers: (readonly [number, string | undefined])[] = [];
  const end = performance.now() + ms;
  while (performance.now() < end) {
    answers.push(await ask());
    await pause(5);
  }
  return answers;
};

describe("a sidecar with a vault", () => {
  it("enrols, gets a token of its own, sends the key, and leaves both audits a trace", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    expect(sidecar.sent).toBe(`Bearer ${KEY}`);
    const { json: enrolled } = await stage.vault.call("GET", "/v1/sidecars");
    expect(enrolled.items).toHaveLength(1);
    const { json: tokens } = await stage.vault.call("GET", "/v1/tokens");
    expect(tokens.items.map(({ scopes, agent }: Record<string, unknown>) => [scopes, agent])).toEqual([
      [[`secrets:use:${API}`], "research"],
    ]);
    const intent = (await sidecar.audit()).find(({ type }) => type === "intent");
    expect(intent).toMatchObject({ secret: `vault:${API}`, version: "1" });
    const { json: audit } = await stage.vault.call("GET", "/v1/audit?event=secret.used");
    expect(JSON.stringify(audit.events)).toContain(String(intent?.["request_id"]));
    expect(JSON.stringify(audit)).not.toContain(KEY);
  });

  it("gives its token back when it stops", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    await sidecar.sidecar.drain(0);
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    expect(json.items.map((one: Record<string, unknown>) => typeof one["revoked_at"])).toEqual(["string"]);
  });

  it("does not start where its agent may not use what a route names", async () => {
    const stage = await startVaultStage(closers, { scopes: [`secrets:use:${API}`] });
    await stage.put(API, KEY);
    const routes = { api: `"vault:${API}"`, other: `"vault:${OTHER}"` };
    await expect(stage.sidecar({ routes })).rejects.toMatchObject({
      code: "IDENTITY_SCOPE_DENIED",
      detail: expect.stringContaining(`routes.other needs ${OTHER}`),
    });
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    expect(json.items.every((one: Record<string, unknown>) => one["revoked_at"] !== undefined)).toBe(true);
  });

  it("finds a name from the agent's place", async () => {
    const stage = await startVaultStage(closers, { scopes: ["secrets:use:acme/*"] });
    await stage.put("acme/api-key", "wide-0123456789abcdef");
    await stage.put("acme/search/api-key", KEY);
    const sidecar = await stage.sidecar({ routes: { api: "vault:api-key" } });
    expect(await sidecar.ask()).toEqual(OK);
    expect(sidecar.sent).toBe(`Bearer ${KEY}`);
  });

  it("keeps a secret to its hosts, whatever its route says", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY, { hosts: ["api.example.test"] });
    await stage.put(OTHER, KEY, { hosts: ["127.0.0.1"] });
    const sidecar = await stage.sidecar({ routes: { api: `"vault:${API}"`, other: `"vault:${OTHER}"` } });
    expect(await sidecar.ask()).toEqual([403, "POLICY_SECRET_HOST"]);
    expect(await sidecar.ask("/other/x")).toEqual(OK);
    expect(stage.upstream.requests).toHaveLength(1);
  });

  it("waits for an approval, unready, and serves once it is given", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY, { access_tier: "sensitive" });
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(UNAVAILABLE);
    const { json } = await stage.vault.call("GET", "/v1/approvals?status=pending");
    const [{ id }] = json.items;
    expect(stage.logged.some((line) => line.includes("waits for approval") && line.includes(id))).toBe(true);
    expect((await stage.vault.call("POST", `/v1/approvals/${id}/approve`, { body: {} })).status).toBeLessThan(300);
    await expect.poll(() => sidecar.ask()).toEqual(OK);
  });

  it("takes a token that is bound to its key, and another one that is put in its place", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const { openSidecarKey } = await import("../../src/identity/sidecar-key.ts");
    const { mkdtemp, readFile, rm, writeFile } = await import("node:fs/promises");
    const { tmpdir } = await import("node:os");
    const { join } = await import("node:path");
    const directory = await mkdtemp(join(tmpdir(), "sidekey-token-"));
    closers.push(() => rm(directory, { recursive: true, force: true }));
    const key = await openSidecarKey(join(directory, "identity.key"));
    const issue = async (): Promise<string> => {
      const body = { agent: "research", scopes: [`secrets:use:${API}`], ttl: "1h", dpop_jkt: key.thumbprint };
      return (await stage.vault.call("POST", "/v1/tokens", { body })).json.token;
    };
    await writeFile(join(directory, "token"), await issue(), { mode: 0o600 });
    const sidecar = await stage.sidecar({
      source: `token: { file: ${JSON.stringify(join(directory, "token"))} }`,
      more: `state: ${JSON.stringify(directory)}`,
    });
    expect(await sidecar.ask()).toEqual(OK);
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    await stage.vault.call("DELETE", `/v1/tokens/${json.items[0].token_id}`);
    await expect.poll(() => sidecar.ask()).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
    await writeFile(join(directory, "token"), `${await issue()}\n`);
    await expect.poll(() => sidecar.ask()).toEqual(OK);
    expect(await readFile(join(directory, "identity.key"), "utf8")).toContain("PRIVATE KEY");
  });
});

describe("a vault whose clock goes otherwise than ours", () => {
  it.each([-2, 2])("(by %i h) gives one token, which serves", async (hours) => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const clock = { now: () => Date.now() + hours * 3_600_000, monotonic: () => performance.now() };
    const sidecar = await stage.sidecar({ start: { clock } });
    expect((await askFor(1_500, () => sidecar.ask())).filter(([status]) => status !== 200)).toEqual([]);
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    expect(json.items).toHaveLength(1);
  });
});

describe("a vault that gives shorter tokens than an hour", () => {
  it("gives the sidecar one of those", async () => {
    const stage = await startVaultStage(closers, { yaml: "tokens: { default_ttl: 5m, max_ttl: 10m }" });
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
  });
});

describe("a sidecar of `run`", () => {
  const livesOf = async ({ vault }: Awaited<ReturnType<typeof startVaultStage>>): Promise<readonly number[]> => {
    const { items } = (await vault.call("GET", "/v1/tokens")).json;
    return items.map(
      ({ issued_at, expires_at }: Record<string, string>) =>
        (Date.parse(expires_at ?? "") - Date.parse(issued_at ?? "")) / 60_000,
    );
  };

  it("has a token of ten minutes, and of an hour where a person approves each", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar({ start: { mode: "run" } });
    expect(await sidecar.ask()).toEqual(OK);
    expect(await livesOf(stage)).toEqual([10]);
    await sidecar.close();
    await stage.put(API, KEY, { access_tier: "sensitive" });
    const other = await stage.sidecar({ start: { mode: "run" } });
    const [{ id }] = (await stage.vault.call("GET", "/v1/approvals?status=pending")).json.items;
    await stage.vault.call("POST", `/v1/approvals/${id}/approve`, { body: {} });
    await expect.poll(() => other.ask()).toEqual(OK);
    expect(await livesOf(stage)).toEqual([60, 10]);
  });

  it("has a shorter one where the vault gives no other, and renews it in time", async () => {
    const stage = await startVaultStage(closers, { yaml: "tokens: { default_ttl: 3s, max_ttl: 5m }" });
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar({ start: { mode: "run" } });
    // On a slow machine one may end before it is used.
    await expect.poll(() => sidecar.ask()).toEqual(OK);
    expect(new Set(await livesOf(stage))).toEqual(new Set([0.05]));
    const issued = () => stage.vault.audit().filter(({ event }) => event === "token.issued").length;
    await expect.poll(issued).toBeGreaterThan(2);
    await expect.poll(() => sidecar.ask()).toEqual(OK);
  });
});

describe("another agent key in its file", () => {
  it("is taken without a restart, also when the first was revoked", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    const another = async (name: string): Promise<string> => {
      const body = { name, allowed_scopes: ["secrets:use:production/*"] };
      return (await stage.vault.call("POST", "/v1/agents", { body })).json.api_key;
    };
    const path = join(sidecar.directory, "agent-key");
    await writeFile(path, `${await another("second")}\n`);
    const ofSecond = async (): Promise<unknown[]> => {
      const { json } = await stage.vault.call("GET", "/v1/tokens");
      return json.items.filter((one: Record<string, unknown>) => one["agent"] === "second");
    };
    await expect.poll(ofSecond).toHaveLength(1);
    expect((await stage.vault.call("DELETE", "/v1/agents/research")).status).toBe(204);
    expect((await askFor(1_000, () => sidecar.ask())).filter(([status]) => status !== 200)).toEqual([]);
    await stage.vault.call("DELETE", "/v1/agents/second");
    await expect.poll(() => sidecar.ask(), { interval: 50 }).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
    await writeFile(path, await another("third"));
    await expect.poll(() => sidecar.ask(), { interval: 50 }).toEqual(OK);
    expect(stage.logged.join("\n")).not.toContain("ast_agent_");
  });
});

describe("R1: a vault that is down when the sidecar starts", () => {
  it("refuses its routes until it is there, and serves then", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    stage.balancer.down();
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(UNAVAILABLE);
    expect(stage.upstream.requests).toHaveLength(0);
    stage.balancer.up();
    await expect.poll(() => sidecar.ask()).toEqual(OK);
    expect(stage.logged.filter((line) => line.includes("has no token"))).toHaveLength(1);
  });
});

describe("R2 and R3: a vault that goes away", () => {
  it.each(["down", "freeze"] as const)(
    "(%s) is bridged for stale_while_error, and no longer",
    async (fault) => {
      const stage = await startVaultStage(closers);
      await stage.put(API, KEY);
      await stage.put(OTHER, KEY);
      const routes = { api: `"vault:${API}", stale_while_error: 4s`, other: `"vault:${OTHER}", stale_while_error: 0s` };
      const sidecar = await stage.sidecar({ routes });
      expect([await sidecar.ask(), await sidecar.ask("/other/x")]).toEqual([OK, OK]);
      stage.balancer[fault]();
      expect((await askFor(1_500, () => sidecar.ask())).filter(([status]) => status !== 200)).toEqual([]);
      await expect.poll(() => sidecar.ask("/other/x"), { timeout: 20_000 }).toEqual(UNAVAILABLE);
      await expect.poll(() => sidecar.ask(), { timeout: 30_000 }).toEqual(UNAVAILABLE);
      stage.balancer.thaw();
      stage.balancer.up();
      await expect.poll(() => sidecar.ask(), { timeout: 20_000 }).toEqual(OK);
    },
    90_000,
  );
});

describe("R4 and R5: a vault that answers with something else", () => {
  it.each([
    ["500", 500, "application/json", '{"error":{"code":"INTERNAL"}}', UNAVAILABLE],
    ["429", 429, "application/json", '{"error":{"code":"RATE_LIMITED"}}', UNAVAILABLE],
    ["HTML", 200, "text/html", "<html></html>", UNAVAILABLE],
    ["truncated JSON", 200, "application/json", '{"value":"canary', UNAVAILABLE],
    ["another secret", 200, "application/json", '{"value":"canary-x","version":1,"path":"a/b"}', UNAVAILABLE],
    ["a value of another type", 200, "application/json", '{"value":5,"version":1}', UNAVAILABLE],
    [
      "a value with CRLF",
      200,
      "application/json",
      `{"value":"canary\\r\\nX: 1","version":1,"path":"${API}"}`,
      [503, "SOURCE_BAD_VALUE"],
    ],
    ["404", 404, "application/json", '{"error":{"code":"SECRET_NOT_FOUND"}}', [503, "SOURCE_SECRET_MISSING"]],
    ["403", 403, "application/json", '{"error":{"code":"SCOPE_DENIED"}}', [403, "IDENTITY_SCOPE_DENIED"]],
    [
      "403 over hosts",
      403,
      "application/json",
      '{"error":{"code":"SCOPE_DENIED","reason":"hosts"}}',
      [403, "POLICY_SECRET_HOST"],
    ],
  ] as const)(
    "(%s) is refused with a code, sends nothing and says nothing of it",
    async (_, status, type, body, expected) => {
      const stage = await startVaultStage(closers);
      await stage.put(API, KEY);
      let redemptions = 0;
      const real = Number(new URL(stage.vault.url).port);
      // All but redemptions goes to the real one.
      const liar = createServer((request, response) => {
        const chunks: Buffer[] = [];
        request.on("data", (chunk: Buffer) => chunks.push(chunk));
        request.on("end", async () => {
          if (request.url === "/v1/redeem") {
            redemptions += 1;
            response.writeHead(status, { "content-type": type });
            response.end(body);
            return;
          }
          if (request.url === "/v1/events") return void response.destroy();
          const headers = Object.fromEntries(
            Object.entries(request.headers).filter(([name]) => !/^(host|connection|content-length)$/.test(name)),
          ) as Record<string, string>;
          const answer = await fetch(`http://127.0.0.1:${real}${request.url}`, {
            method: request.method ?? "GET",
            headers,
            ...(chunks.length > 0 && { body: Buffer.concat(chunks) }),
          });
          response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "text/plain" });
          response.end(await answer.text());
        });
      });
      await new Promise<void>((resolve) => liar.listen(0, "127.0.0.1", resolve));
      closers.push(async () => {
        liar.closeAllConnections();
        liar.close();
      });
      stage.balancer.setTargets([(liar.address() as AddressInfo).port]);
      const sidecar = await stage.sidecar();
      const began = performance.now();
      const answers = await askFor(1_000, () => sidecar.ask());
      expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toEqual(new Set([JSON.stringify(expected)]));
      // One call at a time, further and further apart, whatever the agent does.
      expect(redemptions).toBeLessThan(8 + (performance.now() - began) / 500);
      expect(stage.upstream.requests).toHaveLength(0);
      expect(stage.logged.join("\n")).not.toContain("canary");
    },
  );
});

describe("R6: a rotation", () => {
  it("under load fails no request, and the new key is in use soon after", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    let stop = false;
    const failures: unknown[] = [];
    const load = Array.from({ length: 4 }, async () => {
      while (!stop) {
        const answer = await sidecar.ask();
        if (answer[0] !== 200) failures.push(answer);
        await pause(20);
      }
    });
    for (let n = 0; n < 5; n += 1) {
      const value = await stage.rotate(API);
      await expect.poll(() => sidecar.sent, { interval: 20 }).toBe(`Bearer ${value}`);
    }
    stop = true;
    await Promise.all(load);
    expect(failures).toEqual([]);
  });

  it("is noticed without the stream of events too", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    const cutting = setInterval(() => stage.balancer.cut(), 300);
    closers.push(async () => clearInterval(cutting));
    const value = await stage.rotate(API);
    await expect
      .poll(async () => [await sidecar.ask(), sidecar.sent], { interval: 50 })
      .toEqual([OK, `Bearer ${value}`]);
  });
});

describe("a stream that stands and says nothing", () => {
  it("is noticed long before it is taken for lost, and what it did not say is asked for", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    // By then no other connection than the stream's is kept.
    await pause(5_600);
    stage.balancer.freezeOpen();
    const value = await stage.rotate(API);
    await expect
      .poll(async () => [await sidecar.ask(), sidecar.sent], { interval: 50, timeout: 6_000 })
      .toEqual([OK, `Bearer ${value}`]);
  });
});

describe("a revocation", () => {
  it.each(["token", "sidecar", "agent"] as const)(
    "of the %s refuses the next requests, and nothing comes back",
    async (what) => {
      const stage = await startVaultStage(closers);
      await stage.put(API, KEY);
      const sidecar = await stage.sidecar();
      expect(await sidecar.ask()).toEqual(OK);
      // Once that has come its stream stands.
      const value = await stage.rotate(API);
      await expect
        .poll(async () => [await sidecar.ask(), sidecar.sent], { interval: 50 })
        .toEqual([OK, `Bearer ${value}`]);
      const { json: tokens } = await stage.vault.call("GET", "/v1/tokens");
      const { json: sidecars } = await stage.vault.call("GET", "/v1/sidecars");
      const path = {
        token: `/v1/tokens/${tokens.items[0].token_id}`,
        sidecar: `/v1/sidecars/${sidecars.items[0].id}`,
        agent: "/v1/agents/research",
      }[what];
      expect((await stage.vault.call("DELETE", path)).status).toBe(204);
      await expect.poll(() => sidecar.ask(), { interval: 50 }).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
      const seen = stage.upstream.requests.length;
      expect(new Set((await askFor(1_500, () => sidecar.ask())).map(([status]) => status))).toEqual(new Set([403]));
      expect(stage.upstream.requests).toHaveLength(seen);
    },
  );

  it("of the token is noticed without the stream of events too, and none is asked for again", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    const cutting = setInterval(() => stage.balancer.cut(), 100);
    closers.push(async () => clearInterval(cutting));
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    await stage.vault.call("DELETE", `/v1/tokens/${json.items[0].token_id}`);
    await expect.poll(async () => (await sidecar.ask())[0], { interval: 50 }).not.toBe(200);
    clearInterval(cutting);
    await expect.poll(() => sidecar.ask(), { interval: 50 }).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
    const { json: after } = await stage.vault.call("GET", "/v1/tokens");
    expect(after.items).toHaveLength(1);
  });

  it("of the sidecar that its stream does not tell is found out by the sidecar that is refused", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    // By then no other connection than the stream's is kept.
    await pause(5_600);
    stage.balancer.freezeOpen();
    const { json } = await stage.vault.call("GET", "/v1/sidecars");
    await stage.vault.call("DELETE", `/v1/sidecars/${json.items[0].id}`);
    await expect.poll(() => sidecar.ask(), { interval: 50 }).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
    const { json: tokens } = await stage.vault.call("GET", "/v1/tokens");
    expect(tokens.items).toHaveLength(1);
  });

  it("that nobody heard of is found among hundreds of the agent's tokens", async () => {
    const stage = await startVaultStage(closers, { scopes: ["secrets:use:production/*", "secrets:read:production/*"] });
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    expect(await sidecar.ask()).toEqual(OK);
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    const body = { scopes: [`secrets:read:${API}`] };
    for (let n = 0; n < 101; n += 1) await stage.vault.call("POST", "/v1/tokens", { body, as: stage.agentKey });
    const cutting = setInterval(() => stage.balancer.cut(), 100);
    closers.push(async () => clearInterval(cutting));
    await stage.vault.call("DELETE", `/v1/tokens/${json.items[0].token_id}`);
    await expect.poll(async () => (await sidecar.ask())[0], { interval: 50 }).not.toBe(200);
    clearInterval(cutting);
    await expect.poll(() => sidecar.ask(), { interval: 50 }).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
  });

  it("closes what is in flight", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const sidecar = await stage.sidecar();
    const { openConnection } = await import("../support/raw-client.ts");
    const connection = await openConnection(sidecar.port);
    const origin = `127.0.0.1:${stage.upstream.port}`;
    connection.send(`POST http://${origin}/api/x HTTP/1.1\r\nHost: ${origin}\r\nContent-Length: 100\r\n\r\nhalf`);
    await expect.poll(() => stage.upstream.requests.length).toBe(1);
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    await stage.vault.call("DELETE", `/v1/tokens/${json.items[0].token_id}`);
    await expect.poll(() => stage.upstream.open).toBe(0);
    connection.destroy();
  });
});

describe("the vault as an upstream", () => {
  it("is closed to agents, though a route names it", async () => {
    const stage = await startVaultStage(closers);
    await stage.put(API, KEY);
    const port = stage.balancer.port;
    const sidecar = await stage.sidecar({
      routes: { api: `"vault:${API}"` },
      more: `  steal: { match: "http://localhost:${port}/**", secret: "vault:${API}" }\negress: { allow: ["127.0.0.0/8", "::1/128"] }`,
    });
    const { openConnection } = await import("../support/raw-client.ts");
    const connection = await openConnection(sidecar.port);
    connection.send(
      `GET http://localhost:${port}/v1/health HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n\r\n`,
    );
    const { status, headers } = await connection.receive();
    expect([status, headers.get("x-sidekey-error")?.[0]]).toEqual([403, "POLICY_ADDRESS"]);
    connection.destroy();
  });
});
