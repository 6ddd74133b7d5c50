/** A final answer in the middle of an upload: the agent gets it whole, the upload stops, the connection is not used again. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, HOST, type HostileStage, POISON } from "../support/hostile-stage.ts";
import { openTlsTunnel, type RawConnection } from "../support/raw-client.ts";
import { watchStalls, within } from "../support/stalls.ts";

const BODY = '{"error":"too large"}\n'.repeat(500);

let stage: HostileStage;
const stalls = watchStalls();
afterAll(() => stalls.stop());

beforeAll(async () => {
  stage = await createHostileStage({
    answers: {},
    early: async ({ path }, peer) => {
      const head = "HTTP/1.1 413 Content Too Large\r\n";
      if (path === "/length") await peer.send(`${head}Content-Length: ${BODY.length}\r\n\r\n${BODY}`);
      if (path === "/close")
        await peer.send(`${head}Connection: close\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`);
      if (path === "/chunks") {
        await peer.send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
        await peer.send(`${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`);
      }
      if (path === "/second") {
        await peer.send(`${head}Content-Length: ${BODY.length}\r\n\r\n${BODY}HTTP/1.1 200 OK\r\nX: ${POISON}\r\n\r\n`);
      }
      if (path === "/and-end") {
        await peer.send(`${head}\r\n${BODY}`);
        peer.end();
      }
      if (path === "/reset") peer.reset();
    },
  });
});

afterAll(() => stage.close());

const CHUNK = Buffer.alloc(16_384, 0x75);

/** Goes on sending until the connection takes no more; returns the number of bytes. */
const upload = (connection: RawConnection): (() => number) => {
  let sent = 0;
  const pump = (): void => {
    while (!connection.socket.destroyed && sent < 64 * 1024 * 1024) {
      sent += CHUNK.length;
      if (!connection.socket.write(CHUNK)) return;
    }
  };
  connection.socket.on("drain", pump);
  pump();
  return () => sent;
};

describe("an early answer", () => {
  it.each(["length", "close", "chunks", "second", "and-end"])("by %s reaches the agent whole", async (name) => {
    const connection = await stage.tunnel();
    connection.send(`POST /${name} HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000000000\r\n\r\n`);
    const sent = upload(connection);
    const response = await connection.receive();
    expect([response.status, String(response.body) === BODY]).toEqual([413, true]);
    const peer = stage.peerOf(`/${name}`);
    await within(stalls, 1_000, () => peer?.closed);
    const received = peer?.received.length ?? 0;
    // The agent is not left to pour its gigabyte into nothing.
    await within(stalls, 5_000, () => connection.socket.destroyed);
    expect(sent()).toBeLessThan(64 * 1024 * 1024);
    expect(peer?.received.length).toBe(received);
    expect(connection.transcript.includes(POISON)).toBe(false);
    expect(await stage.after()).not.toBe(peer?.number);
    expect(await stage.outcome(`/${name}`)).toMatchObject({ outcome: "ok", status: 413 });
  });

  it("is a refusal when it is a reset", async () => {
    const connection = await stage.tunnel();
    connection.send(`POST /reset HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000000000\r\n\r\n`);
    upload(connection);
    const response = await connection.receive();
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([502, ["UPSTREAM_RESET"]]);
    connection.destroy();
  });

  it("of the sidecar itself leaves the connection to an agent that sends a little more", async () => {
    const connection = await openTlsTunnel(stage.sidecar.port, "refused.test:443", stage.sidecar.ca);
    for (let n = 0; n < 3; n++) {
      connection.send(`POST /x HTTP/1.1\r\nHost: refused.test\r\nContent-Length: 40000\r\n\r\n`);
      connection.send("h".repeat(20_000));
      const response = await connection.receive();
      expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([502, ["UPSTREAM_UNREACHABLE"]]);
      connection.send("h".repeat(20_000));
    }
    connection.destroy();
  });

  it("to an upload that waits does not keep the agent waiting", async () => {
    const connection = await stage.tunnel();
    connection.send(`POST /length HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 10\r\n\r\nhalf`);
    expect((await connection.receive()).status).toBe(413);
    await within(stalls, 5_000, () => connection.socket.destroyed);
  });
});
