/** R11: whatever phase a request is in when the sidecar stops, what was begun has its end on record. */
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { createHostileStage, get, HOST } from "../support/hostile-stage.ts";
import { openConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const intents = async (sidecar: TestSidecar): Promise<number> =>
  (await sidecar.audit()).filter(({ type }) => type === "intent").length;

/** Intents that have not exactly one ending. */
const unfinished = async (sidecar: TestSidecar): Promise<unknown[]> => {
  const records = await sidecar.audit();
  const endings = new Map<unknown, number>();
  for (const { type, request_id } of records)
    if (type === "outcome" || type === "refusal") endings.set(request_id, (endings.get(request_id) ?? 0) + 1);
  return records.filter(({ type, request_id }) => type === "intent" && endings.get(request_id) !== 1);
};

const phases: Record<string, string> = {
  "waits for its answer": get("/silent"),
  "is being answered": get("/events"),
  "is uploading": `POST /silent HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000\r\n\r\nhalf`,
};

describe("a sidecar that stops while a request", () => {
  it.each(Object.entries(phases))("%s puts its end on record", async (_phase, bytes) => {
    const stage = await createHostileStage({
      answers: {
        silent: () => undefined,
        events: async (_request, peer) => {
          await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n");
        },
      },
      early: () => undefined,
    });
    try {
      const connections = await Promise.all(Array.from({ length: 5 }, () => stage.tunnel()));
      for (const connection of connections) connection.send(bytes);
      await expect.poll(() => stage.upstream.requests.length).toBe(5);
      await stage.sidecar.sidecar.drain(20);
      expect(await intents(stage.sidecar)).toBe(5);
      expect(await unfinished(stage.sidecar)).toEqual([]);
    } finally {
      await stage.close();
    }
  });
});

describe("a sidecar that stops while a tunnel that passes unread", () => {
  it.each(["is being opened", "is open"])("%s puts its end on record", async (phase) => {
    const server = createServer((socket) => socket.on("error", () => undefined)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const sidecar = await startTestSidecar({
      file: 'version: 1\nlisten: { proxy: "127.0.0.1:0" }\nunmatched: tunnel\negress: { allow: ["127.0.0.0/8"] }\n',
      start: {
        resolve: (_name, _options, callback) => {
          if (phase === "is open") callback(null, [{ address: "127.0.0.1", family: 4 }]);
        },
      },
    });
    try {
      const connection = await openConnection(sidecar.port);
      connection.send(`CONNECT far.test:${port} HTTP/1.1\r\nHost: far.test:${port}\r\n\r\n`);
      if (phase === "is open") await connection.receive("CONNECT");
      await expect.poll(() => intents(sidecar)).toBe(1);
      await sidecar.sidecar.drain(20);
      expect(await unfinished(sidecar)).toEqual([]);
    } finally {
      await sidecar.close();
      server.close();
    }
  });
});

describe("a sidecar that stops while a request waits for its secret", () => {
  it("has it on record, though nothing was sent", async () => {
    const sidecar = await startTestSidecar({
      file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { slow: { kind: exec, command: ["sleep", "{path}"], timeout: 60s } }
routes: { plain: { match: "http://127.0.0.1:1/**", secret: "slow:60" } }
`,
    });
    try {
      const connection = await openConnection(sidecar.port);
      connection.send("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
      await expect.poll(() => process.getActiveResourcesInfo()).toContain("ProcessWrap");
      await sidecar.sidecar.drain(20);
      expect((await sidecar.audit()).filter(({ type }) => type === "refusal")).toMatchObject([
        { code: "SOURCE_UNAVAILABLE", route: "plain" },
      ]);
    } finally {
      await sidecar.close();
    }
  });
});
