/**
 * G5, R15: a request that is in flight while the audit cannot be written has its intent on record already. It is answered,
 * and its outcome comes on record, once, as soon as that can be done.
 */
import { mkdirSync, renameSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, get, HOST, type HostileStage } from "../support/hostile-stage.ts";
import type { RawConnection } from "../support/raw-client.ts";

let stage: HostileStage;

const goOn = (path: string): void =>
  void stage
    .peerOf(path)
    ?.send(path === "/half" ? "two\n" : "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlate");

beforeAll(async () => {
  stage = await createHostileStage({
    answers: {
      late: () => undefined,
      half: (_request, peer) => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\none\n"),
    },
    early: () => undefined,
  });
});

afterAll(() => stage.close());

const answered = (path: string) => async (connection: RawConnection) => {
  goOn(path);
  expect((await connection.receive()).status).toBe(200);
};

const phases: readonly [string, string, string, (connection: RawConnection) => Promise<void>, string][] = [
  ["waits for its answer", "/late", get("/late"), answered("/late"), "ok"],
  ["is being answered", "/half", get("/half"), answered("/half"), "ok"],
  [
    "is uploading",
    "/late?up",
    `POST /late?up HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 8\r\n\r\nhalf`,
    async (connection) => {
      connection.send("half");
      await expect.poll(() => stage.peerOf("/late?up")?.received.toString()).toContain("halfhalf");
      await answered("/late?up")(connection);
    },
    "ok",
  ],
  [
    "waits for its answer and its agent leaves",
    "/late?left",
    get("/late?left"),
    async (connection) => {
      connection.destroy();
      await expect.poll(() => stage.peerOf("/late?left")?.closed).toBe(true);
    },
    "client_aborted",
  ],
  [
    "waits for its answer and its upstream leaves",
    "/late?cut",
    get("/late?cut"),
    async (connection) => {
      stage.peerOf("/late?cut")?.reset();
      expect((await connection.receive()).status).toBe(502);
    },
    "upstream_aborted",
  ],
];

describe("an audit that can't be written while a request", () => {
  it.each(phases)("%s gets the outcome once it can", async (_phase, path, bytes, act, outcome) => {
    const file = join(stage.sidecar.directory, ".sidekey/audit.jsonl");
    const before = (await stage.sidecar.audit()).length;
    const connection = await stage.tunnel();
    connection.send(bytes);
    await expect.poll(() => stage.peerOf(path)).toBeDefined();
    if (path === "/half") await expect.poll(() => String(connection.buffered)).toContain("one\n");

    renameSync(file, `${file}.away`);
    mkdirSync(file);
    // Refused from the moment on in which it is noticed.
    await expect
      .poll(async () => {
        const { response } = await stage.ask(get("/after"));
        return response.status;
      })
      .toBe(503);
    await act(connection);
    rmdirSync(file);
    renameSync(`${file}.away`, file);

    const ended = async () => {
      const records = (await stage.sidecar.audit()).slice(before);
      const id = records.find((record) => record["type"] === "intent" && record["path"] === path.split("?")[0])?.[
        "request_id"
      ];
      return records
        .filter((record) => record["request_id"] === id)
        .map((record) => record["outcome"] ?? record["type"]);
    };
    await expect.poll(ended).toEqual(["intent", outcome]);
    await stage.after();
    expect(await ended()).toEqual(["intent", outcome]);
    connection.destroy();
  });
});
