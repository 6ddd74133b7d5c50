/** A sidecar over TLS with a vault that is not what it should be, and secrets that change what they may be used for. */
import { afterEach, describe, expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { openConnection } from "../support/raw-client.ts";
import { startTestSidecar } from "../support/sidecar.ts";
import { startVaultFront, type VaultFront } from "../support/vault/vault-front.ts";
import { API, startVaultStage, type VaultStage } from "../support/vault/vault-stage.ts";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const KEY = "canary-attacks-1f60b9d2e7";
const OK = [200, undefined];
const UNAVAILABLE = [503, "SOURCE_UNAVAILABLE"];

interface Behind {
  readonly stage: VaultStage;
  readonly front: VaultFront;
  readonly logged: string[];
  ask(host?: string, path?: string): Promise<readonly [status: number, code: string | undefined]>;
}

/** `ca`: what the sidecar trusts, default the front's. */
const startBehind = async ({ ca, routes = "" }: { ca?: string; routes?: string } = {}): Promise<Behind> => {
  const front = await startVaultFront();
  closers.push(() => front.close());
  const stage = await startVaultStage(closers, { public: [front.url] });
  front.setTarget(stage.vault.url);
  await stage.put(API, KEY);
  const logged: string[] = [];
  const write = (message: string, fields?: unknown): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const { port } = stage.upstream;
  const sidecar = await startTestSidecar({
    start: { log: { error: write, warn: write, info: write, debug: () => {} } },
    files: { "agent-key": stage.agentKey, "ca.pem": ca ?? front.ca },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { vault: { kind: sidekey, address: "${front.url}", ca: ca.pem, agent_key: { file: agent-key } } }
egress: { allow: ["127.0.0.0/8", "::1/128"] }
upstream: { connect: { "localhost:${port}": "127.0.0.1:${port}" } }
routes:
  api: { match: ["http://127.0.0.1:${port}/api/**", "http://localhost:${port}/api/**"], secret: "vault:${API}", stale_while_error: 0s }
${routes}`,
  });
  closers.push(() => sidecar.close());
  return {
    stage,
    front,
    logged,
    async ask(host = "127.0.0.1", path = "/api/x") {
      const connection = await openConnection(sidecar.port);
      const origin = `${host}:${port}`;
      connection.send(`GET http://${origin}${path} HTTP/1.1\r\nHost: ${origin}\r\nConnection: close\r\n\r\n`);
      const { status, headers } = await connection.receive();
      connection.destroy();
      return [status, headers.get("x-sidekey-error")?.[0]];
    },
  };
};

describe("a vault over TLS", () => {
  it("serves, and its stream of events tells of a rotation", async () => {
    const { stage, ask, front } = await startBehind();
    expect(await ask()).toEqual(OK);
    await expect.poll(() => front.calls.includes("GET /v1/events")).toBe(true);
    const value = await stage.rotate(API);
    await expect
      .poll(async () => [await ask(), stage.upstream.requests.at(-1)?.header("authorization")])
      .toEqual([OK, [`Bearer ${value}`]]);
  });

  it("with a certificate of another CA gets no key and no token to see", async () => {
    const { certificatePem } = await createTestAuthority("another");
    const { ask, front, stage, logged } = await startBehind({ ca: certificatePem });
    expect(await ask()).toEqual(UNAVAILABLE);
    expect(front.calls).toEqual([]);
    expect(stage.upstream.requests).toEqual([]);
    expect(logged.join("\n")).not.toContain(stage.agentKey);
  });

  it.each([
    ["a redirect to another server", 302, { location: "https://127.0.0.1:1/v1/redeem" }, ""],
    ["9 MiB", 200, { "content-type": "application/json" }, `{"value":"${"x".repeat(9 * 1024 * 1024)}`],
    ["429 with a negative wait", 429, { "retry-after": "-5" }, ""],
    ["429 with a wait without end", 429, { "retry-after": "9".repeat(30) }, ""],
    ["503 with a date", 503, { "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT" }, ""],
    ["503 with two waits", 503, { "retry-after": "1, 2" }, ""],
    ["null", 200, { "content-type": "application/json" }, "null"],
    ["204", 204, {}, ""],
    ["401 that no vault gives", 401, { "www-authenticate": "Basic" }, "<html>login</html>"],
    ["403 that no vault gives", 403, {}, "<html>blocked</html>"],
  ] as const)("that answers with %s sends nothing, and serves again afterwards", async (_, status, headers, body) => {
    const { stage, ask, front, logged } = await startBehind();
    front.setMeddle(({ what, response }) => {
      if (what !== "POST /v1/redeem") return false;
      response.writeHead(status, headers);
      response.end(body);
      return true;
    });
    expect(await ask()).toEqual(UNAVAILABLE);
    expect(await ask()).toEqual(UNAVAILABLE);
    expect(stage.upstream.requests).toEqual([]);
    front.setMeddle(undefined);
    await expect.poll(() => ask(), { interval: 50 }).toEqual(OK);
    expect(logged.join("\n")).not.toContain("canary");
  });

  it("that holds its answers back is not waited for past 2 s, nor asked again meanwhile", async () => {
    const { stage, ask, front } = await startBehind();
    let held = 0;
    front.setMeddle(({ what }) => {
      if (what !== "POST /v1/redeem") return false;
      held += 1;
      return new Promise(() => {});
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask()));
    expect(new Set(answers.map(String))).toEqual(new Set([String(UNAVAILABLE)]));
    // Once for all of them; once more where the stream of events began meanwhile.
    expect(held).toBeLessThanOrEqual(2);
    expect(stage.upstream.requests).toEqual([]);
  });
});

describe("a secret that changes where it may go", () => {
  it("is not sent to a host that it was taken from, cached or not", async () => {
    const { stage, ask } = await startBehind();
    await stage.put(API, KEY, { hosts: ["127.0.0.1", "localhost"] });
    expect([await ask(), await ask("localhost")]).toEqual([OK, OK]);
    await stage.vault.call("PATCH", `/v1/secrets/${API}`, { body: { hosts: ["127.0.0.1"] } });
    await expect.poll(() => ask("localhost"), { interval: 20 }).toEqual([403, "POLICY_SECRET_HOST"]);
    const before = stage.upstream.requests.length;
    for (let n = 0; n < 10; n += 1) {
      expect(await ask()).toEqual(OK);
      expect(await ask("localhost")).toEqual([403, "POLICY_SECRET_HOST"]);
    }
    expect(stage.upstream.requests).toHaveLength(before + 10);
  });
});
