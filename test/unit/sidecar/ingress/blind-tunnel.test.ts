/** What was allowed before the upstream was connected may be denied by then: nothing passes, and it is on record. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, it } from "vitest";
import type { AuditBroker } from "../../../../src/audit/broker.ts";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { silentLog } from "../../../../src/core/log.ts";
import { createBlindTunnel } from "../../../../src/sidecar/ingress/blind-tunnel.ts";
import { plainConnection } from "../../../../src/sidecar/net/connection.ts";
import type { LiveExchanges } from "../../../../src/sidecar/pipeline/revocation.ts";

it("refuses a tunnel that was revoked while it was being connected, and ends what was opened for it", async () => {
  const authority = parseAuthority("other.test:443");
  if (authority === undefined) throw new Error("no authority");
  const server = createServer((socket) => void socket.on("error", () => undefined).resume()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const dial = async (): Promise<readonly [near: Socket, far: Socket]> => {
    const near = connect((server.address() as AddressInfo).port, "127.0.0.1");
    const [[far]] = (await Promise.all([once(server, "connection"), once(near, "connect")])) as [[Socket], unknown];
    return [near.on("error", () => undefined), far];
  };
  const [agent, client] = await dial();
  const [upstream, peer] = await dial();
  const recorded: unknown[] = [];
  const added: unknown[] = [];
  const tunnel = createBlindTunnel({
    connector: (_request, done) => {
      done(null, plainConnection(upstream));
      return () => undefined;
    },
    broker: { record: async (event: unknown) => void recorded.push(event) } as unknown as AuditBroker,
    agent: "a",
    clock: systemClock,
    log: silentLog,
    live: {
      judge: () => ({ exchange: () => undefined, tunnel: () => new SidekeyError("POLICY_NO_ROUTE") }),
      add: (one: unknown) => void added.push(one),
      delete: () => undefined,
    } as unknown as LiveExchanges,
  });
  try {
    let answer = "";
    agent.on("data", (chunk: Buffer) => {
      answer += String(chunk);
    });
    await tunnel(authority, client, Buffer.from("early"), { id: "1", startedAt: 0 });
    await expect.poll(() => answer).toMatch(/^HTTP\/1\.1 403 .*POLICY_NO_ROUTE/s);
    await expect.poll(() => peer.destroyed).toBe(true);
    expect(peer.bytesRead).toBe(0);
    expect([upstream.destroyed, added]).toEqual([true, []]);
    expect(recorded).toMatchObject([{ type: "intent" }, { type: "outcome", code: "POLICY_NO_ROUTE", status: 403 }]);
  } finally {
    for (const socket of [agent, client, upstream, peer]) socket.destroy();
    server.close();
  }
});
