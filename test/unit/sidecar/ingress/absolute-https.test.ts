/** Absolute-form https from beyond this machine, which no test may dial: the handler behind a connection marked so. */

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../../../src/core/clock.ts";
import { silentLog } from "../../../../src/core/log.ts";
import { createRequestHandler } from "../../../../src/sidecar/ingress/handler.ts";
import { createListener } from "../../../../src/sidecar/ingress/listener.ts";
import { createLoad } from "../../../../src/sidecar/ingress/load.ts";
import { aGeneration } from "../../../support/generation.ts";
import { openConnection } from "../../../support/raw-client.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (let close = closers.pop(); close !== undefined; close = closers.pop()) close();
});

/** Answers 204 to what reaches the line, and keeps what was refused before it. */
const start = async (isLocal: boolean) => {
  const refused: unknown[] = [];
  const generation = aGeneration({
    async line(_request, client) {
      client.head(204, [], undefined);
      client.end();
    },
  });
  const handler = createRequestHandler({
    current: () => generation,
    broker: { record: async (event: { readonly code?: string | undefined }) => void refused.push(event.code) } as never,
    agent: "a",
    clock: systemClock,
    log: silentLog,
    instance: "i",
    draining: () => false,
    load: createLoad(),
  });
  const server = createListener((socket) => handler.serve(socket, { way: "forward", isLocal })).listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => server.close());
  const connection = await openConnection((server.address() as AddressInfo).port);
  closers.push(() => connection.destroy());
  return { connection, refused };
};

const HTTPS = "GET https://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n";
const HTTP = "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n";

describe("an absolute https target", () => {
  it("is refused from beyond this machine, and that is on record", async () => {
    const { connection, refused } = await start(false);
    connection.send(HTTPS);
    const { status, headers } = await connection.receive();
    expect([status, headers.get("x-sidekey-error")]).toEqual([403, ["POLICY_CLEARTEXT"]]);
    expect(refused).toEqual(["POLICY_CLEARTEXT"]);
    const again = await start(false);
    again.connection.send(HTTP);
    expect((await again.connection.receive()).status).toBe(204);
  });

  it("reaches the line from this machine", async () => {
    const { connection, refused } = await start(true);
    connection.send(HTTPS);
    expect((await connection.receive()).status).toBe(204);
    expect(refused).toEqual([]);
  });
});
