/** Placeholders that a vault issued, sent by an agent where they belong and where they do not. */
import { request } from "node:http";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { openConnection } from "../support/raw-client.ts";
import type { UpstreamHandler } from "../support/upstream.ts";
import { type StagedSidecar, startVaultStage, type VaultStage } from "../support/vault/vault-stage.ts";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const PATH = "production/search/key";
const KEY = "tvly-canary-8f3a61d0c9b24e75";
const MISPLACED = [403, "INJECT_PLACEHOLDER_MISPLACED"];

interface Crew {
  readonly stage: VaultStage;
  readonly sidecar: StagedSidecar;
  /** A new token of the agent, and the placeholder that it reads. */
  placeholder(path?: string): Promise<{ readonly text: string; readonly tokenId: string }>;
  ask(headers: string, target?: string): Promise<readonly [status: number, code: string | undefined]>;
}

const start = async (
  inject = 'in: ["header:Authorization", basic, "query:key"], secrets: ["production/search/*"]',
  handler?: UpstreamHandler,
) => {
  const scopes = ["secrets:use:production/*", "secrets:read:production/*"];
  const stage = await startVaultStage(closers, { scopes, ...(handler !== undefined && { handler }) });
  await stage.put(PATH, KEY);
  const { port } = stage.upstream;
  const sidecar = await stage.sidecar({
    routes: {},
    more: `  crew: { match: "http://127.0.0.1:${port}/**", inject: { kind: vault-placeholder, ${inject} } }`,
  });
  const crew: Crew = {
    stage,
    sidecar,
    async placeholder(path = PATH) {
      const body = { scopes: [`secrets:read:${path}`], reads: "placeholder" };
      const token = await stage.vault.call("POST", "/v1/tokens", { body, as: stage.agentKey });
      const read = await stage.vault.call("GET", `/v1/secrets/${path}`, { as: token.json.token });
      expect(read.json).toMatchObject({ placeholder: true });
      expect(read.text).not.toContain(KEY);
      return { text: String(read.json.value), tokenId: String(token.json.token_id) };
    },
    async ask(headers, target = "/") {
      const connection = await openConnection(sidecar.port);
      const origin = `127.0.0.1:${port}`;
      connection.send(
        `GET http://${origin}${target} HTTP/1.1\r\nHost: ${origin}\r\n${headers}Connection: close\r\n\r\n`,
      );
      const { status, headers: got } = await connection.receive();
      connection.destroy();
      return [status, got.get("x-sidekey-error")?.[0]];
    },
  };
  return crew;
};

const bearer = (text: string): string => `Authorization: Bearer ${text}\r\n`;
const basic = (text: string): string => `Authorization: Basic ${Buffer.from(`me:${text}`).toString("base64")}\r\n`;

describe("a placeholder of the vault", () => {
  it("is swapped where its route takes it, and both audits say whose it was", async () => {
    const { stage, sidecar, placeholder, ask } = await start();
    const { text } = await placeholder();
    expect(text).toMatch(/^tvly-SKP/);
    expect(await ask(bearer(text))).toEqual([200, undefined]);
    expect(sidecar.sent).toBe(`Bearer ${KEY}`);
    expect(await ask(basic(text))).toEqual([200, undefined]);
    expect(Buffer.from(String(sidecar.sent).slice(6), "base64").toString()).toBe(`me:${KEY}`);
    expect(await ask("", `/?key=${text}`)).toEqual([200, undefined]);
    expect(stage.upstream.requests.at(-1)?.path).toBe(`/?key=${KEY}`);
    const intents = (await sidecar.audit()).filter(({ type }) => type === "intent");
    expect(intents.map(({ agent, secret }) => [agent, secret])).toEqual(Array(3).fill(["research", `vault:${PATH}`]));
    const { json } = await stage.vault.call("GET", "/v1/audit?event=secret.used");
    expect(json.events[0]).toMatchObject({ resource_id: PATH });
    expect(JSON.stringify([intents, json])).not.toContain(KEY);
  });

  it("is refused where its route does not take it, and nothing leaves", async () => {
    const { stage, placeholder, ask } = await start();
    const { text } = await placeholder();
    expect(await ask("")).toEqual(MISPLACED);
    expect(await ask(`X-Other: ${text}\r\n`)).toEqual(MISPLACED);
    expect(await ask(bearer(text), `/?key=${text}`)).toEqual(MISPLACED);
    expect(await ask(bearer(text), `/?other=${text}`)).toEqual(MISPLACED);
    expect(await ask("", `/${text}/x`)).toEqual(MISPLACED);
    // Escaped twice it is another word, and the vault knows none such.
    const escaped = `%25${text.charCodeAt(0).toString(16)}${text.slice(1)}`;
    expect(await ask(bearer(text), `/?x=${escaped}`)).toEqual([503, "SOURCE_SECRET_MISSING"]);
    expect(stage.upstream.requests).toEqual([]);
  });

  it("is answered without what the route's other placeholders stood for, whichever was sent first", async () => {
    const other = "tvly-canary-other-5f04ae1b9d2c";
    const { stage, sidecar, placeholder } = await start(undefined, (_request, response) => {
      response.end(`known: ${KEY} and ${other}`);
    });
    await stage.put("production/search/other", other);
    const texts = [(await placeholder()).text, (await placeholder("production/search/other")).text];
    const origin = `127.0.0.1:${stage.upstream.port}`;
    const ask = async (text: string): Promise<string> => {
      const connection = await openConnection(sidecar.port);
      connection.send(`GET http://${origin}/ HTTP/1.1\r\nHost: ${origin}\r\n${bearer(text)}Connection: close\r\n\r\n`);
      const { body } = await connection.receive();
      connection.destroy();
      return body.toString();
    };
    // Not sent yet, it is no credential of this route.
    expect(await ask(texts[0] ?? "")).toBe(`known: ${"[redacted]".padEnd(KEY.length, "*")} and ${other}`);
    for (const text of [texts[1], texts[0], texts[1]])
      expect(await ask(text ?? "")).toMatch(/^known: \S+\*+ and \S+\*+$/);
  });

  it("stands for nothing once its token is revoked, within a second", async () => {
    const { stage, placeholder, ask } = await start();
    const { text, tokenId } = await placeholder();
    expect(await ask(bearer(text))).toEqual([200, undefined]);
    await stage.vault.call("DELETE", `/v1/tokens/${tokenId}`);
    await expect.poll(async () => (await ask(bearer(text)))[0]).not.toBe(200);
    const before = stage.upstream.requests.length;
    for (let n = 0; n < 5; n++) expect((await ask(bearer(text)))[0]).toBeGreaterThanOrEqual(400);
    expect(stage.upstream.requests).toHaveLength(before);
  });

  it("of another secret than the route's is refused, whatever the vault would give", async () => {
    const { stage, placeholder, ask } = await start();
    await stage.put("production/bank/key", "bank-canary-71e0");
    const { text } = await placeholder("production/bank/key");
    expect((await ask(bearer(text)))[0]).toBe(403);
    expect(stage.upstream.requests).toEqual([]);
  });

  it("of another agent, or of nobody, gives nothing", async () => {
    const { stage, placeholder, ask } = await start();
    const { text } = await placeholder();
    const other = await stage.vault.call("POST", "/v1/agents", {
      body: { name: "other", allowed_scopes: ["secrets:read:production/*"], reads: "placeholder" },
    });
    const read = await stage.vault.call("GET", `/v1/secrets/${PATH}`, { as: await tokenOf(stage, other.json.api_key) });
    const made = text.replace(/.{6}$/, "AAAAAA");
    for (const foreign of [String(read.json.value), made]) {
      const [status, code] = await ask(bearer(foreign));
      expect([status, code]).toEqual([503, "SOURCE_SECRET_MISSING"]);
    }
    expect(stage.upstream.requests).toEqual([]);
  });

  it("that is made up is told to the agent, and is no secret that the sidecar remembers", async () => {
    const { stage, placeholder, ask } = await start();
    const { text } = await placeholder();
    const before = stage.logged.length;
    for (let n = 0; n < 60; n += 1) {
      const made = text.replace(/.{4}$/, String(1000 + n));
      expect(await ask(bearer(made))).toEqual([503, "SOURCE_SECRET_MISSING"]);
    }
    // What is logged of each is its request; nothing is remembered by its name.
    expect(stage.logged.slice(before).filter((line) => line.includes("cannot be fetched"))).toEqual([]);
    expect(await ask(bearer(text))).toEqual([200, undefined]);
  });

  it("is for a source that is not ready while its vault is away, or does not know it any more", async () => {
    const { stage, sidecar } = await start();
    const reasons = async (): Promise<unknown> => (await ready(sidecar.directory)).reasons ?? [];
    await expect.poll(reasons).toEqual([]);
    stage.balancer.down();
    await expect.poll(reasons).toEqual(["source:vault"]);
    stage.balancer.up();
    await expect.poll(reasons).toEqual([]);
    const { json } = await stage.vault.call("GET", "/v1/tokens");
    await stage.vault.call("DELETE", `/v1/tokens/${json.items[0].token_id}`);
    await expect.poll(reasons).toEqual(["source:vault"]);
  });

  it("is not taken for a host that its secret is not bound to", async () => {
    const { stage, placeholder, ask } = await start();
    await stage.put(PATH, KEY, { hosts: ["api.tavily.com"] });
    const { text } = await placeholder();
    expect(await ask(bearer(text))).toEqual([403, "POLICY_SECRET_HOST"]);
    expect(stage.upstream.requests).toEqual([]);
  });

  it("gives the new value once the secret is rotated, and the old one is scrubbed still", async () => {
    const { stage, sidecar, placeholder, ask } = await start();
    const { text } = await placeholder();
    expect(await ask(bearer(text))).toEqual([200, undefined]);
    const fresh = await stage.rotate(PATH);
    await expect
      .poll(async () => [await ask(bearer(text)), sidecar.sent])
      .toEqual([[200, undefined], `Bearer ${fresh}`]);
  });
});

const ready = (directory: string): Promise<{ readonly reasons?: readonly string[] }> =>
  new Promise((resolve, reject) => {
    const socketPath = join(directory, ".sidekey", "admin.sock");
    const asked = request({ socketPath, path: "/readyz" }, async (answer) => {
      const chunks: Buffer[] = [];
      for await (const chunk of answer) chunks.push(chunk as Buffer);
      resolve(JSON.parse(Buffer.concat(chunks).toString()));
    });
    asked.on("error", reject).end();
  });

const tokenOf = async (stage: VaultStage, key: string): Promise<string> => {
  const body = { scopes: [`secrets:read:${PATH}`] };
  return String((await stage.vault.call("POST", "/v1/tokens", { body, as: key })).json.token);
};
