/** What a mistake of ours behind the handler does to the request it happens in: an answer, a record, and no more. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../../../src/core/clock.ts";
import { silentLog } from "../../../../src/core/log.ts";
import { createRequestHandler } from "../../../../src/sidecar/ingress/handler.ts";
import { createListener } from "../../../../src/sidecar/ingress/listener.ts";
import { createLoad } from "../../../../src/sidecar/ingress/load.ts";
import { aGeneration } from "../../../support/generation.ts";
import { openConnection } from "../../../support/raw-client.ts";

it("answers a request for which the line throws, and goes on with the next", async () => {
  const refused: unknown[] = [];
  let calls = 0;
  const generation = aGeneration({
    line(_request, client, _ctx, end) {
      calls += 1;
      if (calls % 2 === 1) throw new TypeError("a mistake");
      client.head(204, [], undefined);
      client.end();
      end(undefined);
    },
  });
  const load = createLoad();
  const handler = createRequestHandler({
    current: () => generation,
    broker: { record: async (event: { readonly code?: string | undefined }) => void refused.push(event.code) } as never,
    agent: "a",
    clock: systemClock,
    log: silentLog,
    instance: "i",
    draining: () => false,
    load,
  });
  const server = createListener((socket) => handler.serve(socket, { way: "forward", isLocal: true }));
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void server.close());
  const connection = await openConnection((server.address() as AddressInfo).port);
  onTestFinished(() => connection.destroy());
  connection.send("GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n".repeat(4));
  const statuses: number[] = [];
  for (let i = 0; i < 4; i++) statuses.push((await connection.receive()).status);
  expect(statuses).toEqual([500, 204, 500, 204]);
  expect(refused).toEqual(["INTERNAL", "INTERNAL"]);
  expect(load.streams).toBe(0);
});
