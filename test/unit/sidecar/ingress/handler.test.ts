/** What a mistake of ours behind the handler does to the request it happens in: an answer, a record, and no more. */
import { expect, it } from "vitest";
import { openHandler } from "../../../support/handler.ts";

it("answers a request for which the line throws, and goes on with the next", async () => {
  let calls = 0;
  const { connection, refused, load } = await openHandler((_request, client, _ctx, end) => {
    calls += 1;
    if (calls % 2 === 1) throw new TypeError("a mistake");
    client.head(204, [], undefined);
    client.end();
    end(undefined);
  }, true);
  connection.send("GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n".repeat(4));
  const statuses: number[] = [];
  for (let i = 0; i < 4; i++) statuses.push((await connection.receive()).status);
  expect(statuses).toEqual([500, 204, 500, 204]);
  expect(refused).toEqual(["INTERNAL", "INTERNAL"]);
  expect(load.streams).toBe(0);
});
