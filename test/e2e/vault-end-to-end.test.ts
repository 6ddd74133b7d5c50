/**
 * A vault, an orchestrator, a sidecar and an agent, all of them built programs: from a key that is stored to a token that
 * is revoked, and every step in the two audit logs. docs/vault-end-to-end.md tells the same.
 */
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { startBalancer } from "../support/balancer.ts";
import { noPostgres, startPostgres } from "../support/postgres.ts";
import { type Finished, startSidekey } from "../support/program.ts";
import { openConnection } from "../support/raw-client.ts";
import { startLoad } from "../support/steady-load.ts";
import { startUpstream } from "../support/upstream.ts";
import { type RunningVault, serveVault } from "../support/vault/vault-process.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const PATH = "production/api/key";
const FIRST = "sk-canary-first-9c41d07be2f35a86";
const SECOND = "sk-canary-second-1b7e64af90d2c358";
const PER_SECOND = 200;

const workspace = (): Workspace => {
  const work = createWorkspace();
  closers.push(() => work.remove());
  return work;
};

const succeed = ({ code, stdout, stderr }: Finished): string => {
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
};

/** All that a directory's logs hold, one record each. */
const records = (work: Workspace): Record<string, unknown>[] =>
  readdirSync(work.at(".sidekey"))
    .filter((name) => name.endsWith(".jsonl"))
    .flatMap((name) =>
      readFileSync(work.at(`.sidekey/${name}`), "utf8")
        .trimEnd()
        .split("\n"),
    )
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const askThrough = async (port: number, url: string): Promise<readonly [number, string | undefined]> => {
  const connection = await openConnection(port);
  connection.send(`GET ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\nConnection: close\r\n\r\n`);
  const { status, headers } = await connection.receive();
  connection.destroy();
  return [status, headers.get("x-sidekey-error")?.[0]];
};

/** The vault's own things: the operator's key is in `operator.key`. */
const initVault = async (more = ""): Promise<Workspace> => {
  const work = workspace();
  work.write("vault.yaml", `version: 1\nlisten: 127.0.0.1:0\n${more}`);
  const [key = ""] = /ask_op_[A-Za-z0-9_-]{43}/.exec(succeed(await work.sidekey(["vault", "init"]))) ?? [];
  work.write("operator.key", key);
  return work;
};

const operate =
  (work: Workspace, address: string) =>
  async (line: string, input = ""): Promise<string> =>
    succeed(await work.sidekey([...line.split(" "), "--vault", address, "--key-file", "operator.key"], { input }));

describe("the whole way of a key", () => {
  it("is stored, used, kept from the agent, rotated under load, revoked, and on record", async () => {
    const upstream = await startUpstream();
    closers.push(() => upstream.close());
    const store = await initVault();
    const vault = await serveVault([], { cwd: store.path });
    closers.push(() => vault.stop());
    const operator = operate(store, vault.address);

    // The operator stores a key, and makes an agent for the orchestrator.
    await operator(`secret set ${PATH} --host 127.0.0.1`, FIRST);
    const created = await operator("agent create orchestrator --scope secrets:use:production/*");
    const [agentKey = ""] = /ast_agent_[A-Za-z0-9_-]{43}/.exec(created) ?? [];

    // The orchestrator issues a token that only this sidecar can use.
    const here = workspace();
    const url = `http://127.0.0.1:${upstream.port}/v1/models`;
    here.write(
      "sidekey.yaml",
      `version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { vault: { kind: sidekey, address: "${vault.address}", token: { file: token } } }
routes:
  api: { match: "http://127.0.0.1:${upstream.port}/**", secret: "vault:${PATH}" }
`,
    );
    const thumbprint = succeed(await here.sidekey(["identity"])).trim();
    const issue = ["token", "issue", "--scope", `secrets:use:${PATH}`, "--jkt", thumbprint, "--vault", vault.address];
    const token = succeed(await store.sidekey(issue, { environment: { ASS_AGENT_KEY: agentKey } })).trim();
    here.write("token", token);

    // The sidecar injects.
    const sidecar = await startSidekey([], { cwd: here.path });
    closers.push(() => sidecar.stop());
    const port = Number(String(sidecar.ready["proxy"]).split(":").at(-1));
    expect(await askThrough(port, url)).toEqual([200, undefined]);
    expect(upstream.requests.at(-1)?.header("authorization")).toEqual([`Bearer ${FIRST}`]);

    // The agent got hold of the token, and has nothing of it.
    for (const target of [`/v1/secrets/${PATH}`, "/v1/secrets", "/v1/tokens"]) {
      const answer = await fetch(`${vault.address}${target}`, { headers: { authorization: `Bearer ${token}` } });
      expect([target, answer.status]).toEqual([target, 403]);
      expect(await answer.text()).not.toContain(FIRST);
    }

    // The key is rotated under load.
    const load = startLoad(port, url, PER_SECOND);
    closers.push(() => load.stop());
    await expect.poll(() => load.sent, { timeout: 30_000 }).toBeGreaterThan(PER_SECOND);
    await operator(`secret rotate ${PATH}`, SECOND);
    const lastSent = (): string | undefined => upstream.requests.at(-1)?.header("authorization")[0];
    await expect.poll(lastSent, { interval: 10, timeout: 20_000 }).toBe(`Bearer ${SECOND}`);
    const before = upstream.requests.length;
    await expect.poll(() => upstream.requests.length, { timeout: 30_000 }).toBeGreaterThan(before + PER_SECOND);
    await load.stop();
    expect(load.failures).toEqual([]);
    // Those that were on their way when the first new one came may be old; what began after them is not.
    const late = upstream.requests.slice(before + 64).map((one) => one.header("authorization")[0]);
    expect(new Set(late)).toEqual(new Set([`Bearer ${SECOND}`]));

    // The token is revoked.
    const [, id = ""] = /"id":\s*"([^"]+)"/.exec(await operator("token list --json")) ?? [];
    await operator(`token revoke ${id}`);
    await expect
      .poll(() => askThrough(port, url), { interval: 10, timeout: 20_000 })
      .toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
    const count = upstream.requests.length;
    expect(await askThrough(port, url)).toEqual([403, "IDENTITY_TOKEN_REVOKED"]);
    expect(upstream.requests).toHaveLength(count);

    // Both logs are whole, and say all of it.
    await sidecar.stop();
    await vault.stop();
    expect(succeed(await here.sidekey(["audit", "verify"]))).toContain("intact");
    expect(succeed(await store.sidekey(["audit", "verify", "-c", "vault.yaml"]))).toContain("intact");
    const events = records(store).map(({ event }) => event);
    for (const event of [
      "secret.created",
      "agent.created",
      "token.issued",
      "secret.used",
      "secret.rotated",
      "token.revoked",
    ]) {
      expect(events).toContain(event);
    }
    expect(records(store).some(({ code, event }) => event === "auth.failed" || String(code).includes("DENIED"))).toBe(
      true,
    );
    const own = records(here);
    expect(own.find(({ type }) => type === "intent")).toMatchObject({ secret: `vault:${PATH}`, version: "1" });
    expect(own.some(({ type, version }) => type === "intent" && version === "2")).toBe(true);
    expect(own.some(({ type, code }) => type === "refusal" && code === "IDENTITY_TOKEN_REVOKED")).toBe(true);
    const everything = JSON.stringify([records(store), own]);
    for (const secret of [FIRST, SECOND, token, agentKey]) expect(everything).not.toContain(secret);
  }, 180_000);

  it("is there for a program of run --vault, and its token is given back when that has ended", async () => {
    const upstream = await startUpstream();
    closers.push(() => upstream.close());
    const store = await initVault();
    const vault = await serveVault([], { cwd: store.path });
    closers.push(() => vault.stop());
    const operator = operate(store, vault.address);
    await operator(`secret set ${PATH}`, FIRST);
    const [agentKey = ""] =
      /ast_agent_\S{43}/.exec(await operator("agent create a --scope secrets:use:production/*")) ?? [];
    const here = workspace();
    here.write(
      "sidekey.yaml",
      `version: 1\nroutes:\n  api: { match: "http://127.0.0.1:${upstream.port}/**", secret: "${PATH}" }\n`,
    );
    // An agent of its own: since 22.21 and 24.5 Node's takes the way through the proxy itself, and the proxy would be asked for the proxy.
    const ask = `const { Agent, request } = require("node:http");
      const { hostname, port } = new URL(process.env.HTTP_PROXY);
      const url = "http://127.0.0.1:${upstream.port}/x";
      request({ agent: new Agent(), hostname, port, path: url, headers: { host: new URL(url).host } }, (answer) => {
        console.log(answer.statusCode, "ASS_AGENT_KEY" in process.env);
        answer.resume();
        if (process.argv[1] === "wait") setInterval(() => {}, 1000);
      }).end();`;
    const environment = { ASS_AGENT_KEY: agentKey };
    const run = ["run", "--vault", vault.address, "--", process.execPath, "-e", ask];
    expect(succeed(await here.sidekey(run, { environment })).trim()).toBe("200 false");
    expect(upstream.requests.at(-1)?.header("authorization")).toEqual([`Bearer ${FIRST}`]);

    const { launch, finished } = await import("../support/program.ts");
    const child = launch([...run, "wait"], { cwd: here.path, environment });
    const end = finished(child);
    await expect.poll(() => upstream.requests.length, { timeout: 20_000 }).toBe(2);
    child.kill("SIGTERM");
    expect((await end).code).toBe(143);

    const tokens = JSON.parse(await operator("token list --json")) as Record<string, unknown>[];
    expect(tokens).toHaveLength(2);
    for (const one of tokens) expect(JSON.stringify(one)).toMatch(/revoked/i);
  }, 120_000);
});

const reason = noPostgres();
describe.skipIf(reason !== undefined)(
  `two vaults on one PostgreSQL${reason === undefined ? "" : ` (skipped: ${reason})`}`,
  () => {
    it("lose no read when one of them is killed under load", async () => {
      const postgres = await startPostgres();
      closers.push(() => postgres.close());
      const database = await postgres.createDatabase();
      const upstream = await startUpstream();
      closers.push(() => upstream.close());
      const balancer = await startBalancer();
      closers.push(() => balancer.close());

      const environment = { VAULT_DATABASE: database };
      const yaml = `version: 1\nlisten: 127.0.0.1:0\npublic_url: ${balancer.url}\nstorage: { kind: postgres, url: { env: VAULT_DATABASE } }\n`;
      const first = workspace();
      first.write("vault.yaml", yaml);
      const init = await first.sidekey(["vault", "init", "-c", "vault.yaml"], { environment });
      const [operatorKey = ""] = /ask_op_[A-Za-z0-9_-]{43}/.exec(succeed(init)) ?? [];
      first.write("operator.key", operatorKey);
      const second = workspace();
      second.write("vault.yaml", `${yaml}key: { file: ${first.at(".sidekey/vault.key")} }\n`);

      const serve = (work: Workspace): Promise<RunningVault> =>
        serveVault(["-c", "vault.yaml"], { cwd: work.path, environment });
      const vaults = [await serve(first), await serve(second)] as const;
      for (const vault of vaults) closers.push(() => vault.stop("SIGKILL"));
      balancer.setTargets(vaults.map(({ address }) => Number(new URL(address).port)));

      const operator = operate(first, balancer.url);
      await operator(`secret set ${PATH}`, FIRST);
      const [agentKey = ""] =
        /ast_agent_\S{43}/.exec(await operator("agent create a --scope secrets:use:production/*")) ?? [];
      const here = workspace();
      here.write("agent.key", agentKey);
      here.write(
        "sidekey.yaml",
        `version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { vault: { kind: sidekey, address: "${balancer.url}", agent_key: { file: agent.key } } }
routes:
  api: { match: "http://127.0.0.1:${upstream.port}/**", secret: "${PATH}", max_age: 100ms }
`,
      );
      const sidecar = await startSidekey([], { cwd: here.path });
      closers.push(() => sidecar.stop());
      const port = Number(String(sidecar.ready["proxy"]).split(":").at(-1));
      const load = startLoad(port, `http://127.0.0.1:${upstream.port}/x`, PER_SECOND);
      closers.push(() => load.stop());
      await expect.poll(() => upstream.requests.length, { timeout: 30_000 }).toBeGreaterThan(PER_SECOND);
      await vaults[0].stop("SIGKILL");
      const after = upstream.requests.length;
      await expect.poll(() => upstream.requests.length, { timeout: 60_000 }).toBeGreaterThan(after + 3 * PER_SECOND);
      // What the one that is left says reaches the sidecar.
      await operator(`secret rotate ${PATH}`, SECOND);
      await expect
        .poll(() => upstream.requests.at(-1)?.header("authorization")[0], { interval: 20, timeout: 20_000 })
        .toBe(`Bearer ${SECOND}`);
      await load.stop();
      expect(load.failures).toEqual([]);
    }, 180_000);
  },
);
