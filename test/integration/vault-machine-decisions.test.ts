/** What an operator decides at the machine, in the store itself: the server puts it on its own record, and tells of it. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { parseScopes } from "../../src/identity/scope.ts";
import { openVault } from "../../src/vault/index.ts";
import { startTestVault } from "../support/vault/test-vault.ts";

const SCOPE = "secrets:read:p/*";

it("decisions that were made while no server ran are on record and told, each once", async () => {
  const told: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => {
      text += String(chunk);
    });
    request.on("end", () => {
      told.push(JSON.parse(text));
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;

  const ids: string[] = [];
  const vault = await startTestVault({
    yaml: `approvals: { webhook: { url: "http://127.0.0.1:${port}/x", secret: { env: HOOK } } }\n`,
    environment: { HOOK: Buffer.alloc(32, 7).toString("base64") },
    async prepare(state) {
      const keys = { file: join(state, "vault.key") };
      const store = await openVault({ directory: join(state, "vault"), keys, clock: systemClock });
      const { info: agent } = await store.agents.create({ name: "bot", scopes: parseScopes(SCOPE) });
      for (const terms of ["one", "two"]) {
        const scopes = parseScopes(SCOPE);
        ids.push((await store.approvals.request({ agent, scopes, tier: "sensitive", terms })).id);
      }
      const [yes = "", no = ""] = ids;
      await store.approvals.approve(yes, { by: "root", isUnrecorded: true });
      await store.approvals.deny(no, { by: "root", isUnrecorded: true, reason: "use the sandbox" });
      await store.close();
    },
  });
  const decided = () => vault.audit().filter(({ event }) => /^approval\.(?:granted|denied)$/.test(String(event)));
  await expect.poll(() => decided().length, { timeout: 30_000 }).toBe(2);
  expect(decided().map(({ event, actor, actor_type, reason }) => [event, actor, actor_type, reason])).toEqual([
    ["approval.granted", "root", "operator", undefined],
    ["approval.denied", "root", "operator", "use the sandbox"],
  ]);
  expect(decided().map(({ metadata }) => JSON.parse(String(metadata)))).toMatchObject([
    { approval_id: ids[0], agent: "bot", tier: "sensitive", scope: SCOPE, status: "approved", place: "machine" },
    { approval_id: ids[1], status: "denied", happened_at: expect.stringMatching(/^20/) },
  ]);
  await expect.poll(() => told.map(({ type }) => type).sort()).toEqual(["approval.denied", "approval.granted"]);
  const { json } = await vault.call("GET", "/v1/audit?event=approval.granted");
  expect(json.events).toHaveLength(1);
});
