/** `sidekey doctor` with a vault server in the file. */
import { afterEach, expect, it } from "vitest";
import { serveVault } from "../support/vault/vault-process.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const ROUTES = "api.example.test: production/a/b";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const workspace = (): Workspace => {
  const work = createWorkspace();
  closers.push(() => work.remove());
  return work;
};

it("says whether the vault answers, takes the key, knows the sidecar, and when the token ends", async () => {
  const store = workspace();
  store.write("vault.yaml", "version: 1\nlisten: 127.0.0.1:0\n");
  const [operatorKey = ""] = /ask_op_\S{43}/.exec((await store.sidekey(["vault", "init"])).stdout) ?? [];
  const vault = await serveVault(["-c", "vault.yaml"], { cwd: store.path });
  closers.push(() => vault.stop());
  const environment = { ASS_API_KEY: operatorKey };
  const type = async (line: string): Promise<string> =>
    (await store.sidekey([...line.split(" "), "--vault", vault.address], { environment })).stdout;
  const [agentKey = ""] = /ast_agent_\S{43}/.exec(await type("agent create a --scope secrets:use:production/*")) ?? [];

  const call = async (
    path: string,
    method = "GET",
  ): Promise<{ readonly items?: readonly { readonly id: string }[] }> => {
    const answer = await fetch(vault.address + path, { method, headers: { authorization: `Bearer ${operatorKey}` } });
    return JSON.parse((await answer.text()) || "{}");
  };

  const work = workspace();
  const found = async (source: string, routes = ROUTES): Promise<readonly string[]> => {
    work.write(
      "sidekey.yaml",
      `version: 1\nlisten: { proxy: "127.0.0.1:0" }\nsources: { v: { kind: sidekey, ${source} } }\nroutes: { ${routes} }\n`,
    );
    const { stdout } = await work.sidekey(["doctor", "--client", "none", "--json"]);
    const { checks } = JSON.parse(stdout) as { checks: readonly Record<string, string>[] };
    return checks.filter(({ what }) => what === "vault v").map(({ level, text }) => `${level}: ${text}`);
  };
  work.write("agent.key", agentKey);
  work.write("bad.key", `ast_agent_${"x".repeat(43)}`);
  const thumbprint = (await work.sidekey(["identity"])).stdout.trim();

  const answers = expect.stringContaining(`ok: ${vault.address} answers on this machine`);
  expect(await found(`address: "${vault.address}", agent_key: { file: agent.key }`)).toEqual([
    answers,
    "info: takes the agent's key; this sidecar enrols when it starts",
  ]);
  await type(`agent enroll a --jkt ${thumbprint}`);
  expect(await found(`address: "${vault.address}", agent_key: { file: agent.key }`)).toEqual([
    answers,
    "ok: takes the agent's key, and knows this sidecar",
  ]);
  expect(await found(`address: "${vault.address}", agent_key: { file: bad.key }`)).toEqual([
    expect.stringMatching(/^fail: /),
  ]);
  const issue = (more: string) => type(`token issue --agent a --scope secrets:use:production/${more}`);
  work.write("token", await issue(`a/b --jkt ${thumbprint}`));
  expect(await found(`address: "${vault.address}", token: { file: token }`)).toEqual([
    answers,
    expect.stringMatching(/^ok: its token is good until 20/),
  ]);
  work.write("token", await issue(`other/b --ttl 5m --jkt ${"A".repeat(43)}`));
  expect(await found(`address: "${vault.address}", token: { file: token }`)).toEqual([
    answers,
    expect.stringMatching(/^warn: its token ends soon/),
    "fail: its token is bound to another key than this sidecar's",
    "fail: its token does not cover production/a/b",
  ]);
  work.write("token", await issue(`a/b --jkt ${thumbprint}`));
  const placeholders = await found(
    `address: "${vault.address}", token: { file: token }`,
    'p: { match: "https://p.test/**", inject: { kind: vault-placeholder, in: [basic], secrets: ["production/p/*"] } }',
  );
  expect(placeholders).toContain("fail: its token does not cover production/p/*");
  const { items } = await call("/v1/sidecars");
  await call(`/v1/sidecars/${items?.[0]?.id}`, "DELETE");
  expect(await found(`address: "${vault.address}", agent_key: { file: agent.key }`)).toEqual([
    answers,
    expect.stringMatching(/^fail: takes the agent's key, but this sidecar was revoked \(20/),
  ]);
  await vault.stop();
  expect(await found(`address: "${vault.address}", agent_key: { file: agent.key }`)).toEqual([
    `fail: Nothing listens at ${vault.address}.`,
  ]);
}, 120_000);
