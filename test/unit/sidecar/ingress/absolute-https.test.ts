/** Absolute-form https from beyond this machine, which no test may dial: the handler behind a connection marked so. */
import { describe, expect, it } from "vitest";
import { type HandlerStage, openHandler } from "../../../support/handler.ts";

/** Answers 204 to what reaches the line. */
const start = (isLocal: boolean): Promise<HandlerStage> =>
  openHandler((_request, client, _ctx, end) => {
    client.head(204, [], undefined);
    client.end();
    end(undefined);
  }, isLocal);

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
