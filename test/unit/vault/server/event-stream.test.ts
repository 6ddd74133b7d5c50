/** One listener's stream: whom it goes on for. */
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../../src/identity/scope.ts";
import type { TokenPrincipal } from "../../../../src/vault/server/callers/principal.ts";
import type { EventHub, Listener } from "../../../../src/vault/server/event-hub.ts";
import { openEventStream } from "../../../../src/vault/server/event-stream.ts";

const JKT = "A".repeat(43);

const principal: TokenPrincipal = {
  kind: "token",
  proof: JKT,
  isSidecar: true,
  token: {
    id: "token-1",
    subject: "agent-1",
    agent: "bot",
    agentId: "agent-1",
    issuedAt: 0,
    notBefore: 0,
    expiresAt: 1_000_000,
    scopes: parseScopes("secrets:use:p/*"),
    approvedTier: "standard",
    reads: "value",
    usesLeft: undefined,
  },
};

const open = (isGood: () => Promise<boolean>) => {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const told: string[] = [];
  response.write = (chunk: unknown) => {
    told.push(String(chunk));
    return true;
  };
  let listener: Listener | undefined;
  let now = 0;
  const hub: EventHub = {
    async subscribe(given) {
      listener = given;
      return { generation: 7, end() {} };
    },
    async close() {},
  };
  let ends = 0;
  const stream = openEventStream(response, {
    principal,
    hub,
    clock: { now: () => now, monotonic: () => now },
    since: undefined,
    isOfAgent: async () => true,
    isGood,
    ended: () => {
      ends += 1;
    },
  });
  return {
    told,
    ends: () => ends,
    stream,
    listener: (): Listener => {
      if (listener === undefined) throw new Error("nobody listens");
      return listener;
    },
    later: (ms: number) => {
      now += ms;
    },
  };
};

describe("a stream of events", () => {
  it("ends before its first word when its token was taken back before it could hear of that", async () => {
    const at = open(async () => false);
    await expect.poll(at.ends).toBe(1);
    expect(at.told).toEqual([]);
  });

  it("looks again when not all is known any more, and whenever it says that all is well", async () => {
    let isGood = true;
    const at = open(async () => isGood);
    await expect.poll(() => at.told.join("")).toContain("event: ready");
    at.later(6_000);
    await expect.poll(() => at.told.at(-1)).toBe(":\n\n");
    at.listener().reset(9);
    await expect.poll(() => at.told.at(-1)).toContain("event: reset");
    isGood = false;
    at.listener().reset(10);
    await expect.poll(at.ends).toBe(1);
    expect(at.told.join("")).not.toContain("10");
    const other = open(async () => isGood);
    other.later(6_000);
    await expect.poll(other.ends).toBe(1);
  });

  it("ends when nobody can tell whether it may go on", async () => {
    const at = open(() => Promise.reject(new Error("the store is out of reach")));
    await expect.poll(at.ends).toBe(1);
    expect(at.told).toEqual([]);
  });

  it("says that a key was taken back when it was this agent's, and not when it was another's", async () => {
    let isGood = true;
    const at = open(async () => isGood);
    const change = { generation: 8, changes: [{ type: "sidecar.revoked" as const, jkt: JKT }] };
    at.listener().changed(change);
    at.listener().changed({ generation: 9, changes: [{ type: "secret.updated", path: "p/a", version: 2 }] });
    await expect.poll(() => at.told.join("")).toContain("p/a");
    expect([at.told.join("").includes("sidecar.revoked"), at.ends()]).toEqual([false, 0]);
    isGood = false;
    at.listener().changed({ ...change, generation: 10 });
    await expect.poll(at.ends).toBe(1);
    expect(at.told.at(-1)).toContain("sidecar.revoked");
  });
});
