/** R8, R10: who leaves is noticed on the other side at once, in every phase, and nothing is left behind. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, get, HOST, type HostileStage } from "../support/hostile-stage.ts";
import type { RawConnection } from "../support/raw-client.ts";
import type { RawPeer, RawScript } from "../support/raw-upstream.ts";
import { watchStalls, within } from "../support/stalls.ts";

const flood = async (peer: RawPeer): Promise<void> => {
  await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  const chunk = `1000\r\n${"a\n".repeat(0x800)}\r\n`;
  while (!peer.closed) await peer.send(chunk);
};

const answers: Record<string, RawScript> = {
  silent: () => undefined,
  endless: (_request, peer) => flood(peer),
  events: async (_request, peer) => {
    await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n");
  },
};

let stage: HostileStage;
let uploads = 0;

beforeAll(async () => {
  stage = await createHostileStage({
    answers,
    early: ({ path }) => {
      uploads += 1;
      if (path === "/never") return;
    },
  });
});

afterAll(() => stage.close());

/** Promised 200; the rest is for a busy machine. `ms` */
const AT_ONCE = 1_000;
const stalls = watchStalls();
afterAll(() => stalls.stop());

const soon = (isSo: () => boolean | undefined): Promise<void> => within(stalls, AT_ONCE, isSo);

const start = async (bytes: string, path: string): Promise<RawConnection> => {
  const connection = await stage.tunnel();
  connection.send(bytes);
  await expect.poll(() => stage.peerOf(path)).toBeDefined();
  return connection;
};

describe("an agent that leaves", () => {
  it.each([
    ["while it waits", get("/silent"), "/silent"],
    ["in a download", get("/endless"), "/endless"],
    ["between two events", get("/events"), "/events"],
    ["in an upload", `POST /never HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000\r\n\r\nhalf`, "/never"],
    [
      "in chunks",
      `POST /never?2 HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`,
      "/never?2",
    ],
  ])("%s closes the upstream's connection", async (_when, bytes, path) => {
    const connection = await start(bytes, path);
    if (path === "/events" || path === "/endless") {
      await expect.poll(() => connection.transcript.length).toBeGreaterThan(20);
    }
    connection.destroy();
    await soon(() => stage.peerOf(path)?.closed);
    expect(await stage.outcome(path.replace(/\?.*/, ""))).toMatchObject({ outcome: "client_aborted" });
  });

  it("without reading holds a bounded part of an endless answer", async () => {
    const connection = await start(get("/endless?slow"), "/endless?slow");
    await expect.poll(() => connection.transcript.length).toBeGreaterThan(1_000);
    connection.socket.pause();
    const peer = stage.peerOf("/endless?slow");
    let before = -1;
    await expect
      .poll(
        () => {
          const sent = peer?.socket.bytesWritten ?? 0;
          const stopped = sent === before;
          before = sent;
          return stopped;
        },
        { interval: 300 },
      )
      .toBe(true);
    expect(before).toBeLessThan(32 * 1024 * 1024);
    connection.destroy();
    await soon(() => peer?.closed);
  });
});

describe("an upstream that leaves", () => {
  it.each(["end", "cut", "reset"] as const)("in a download (%s) cuts the agent off", async (ending) => {
    const path = `/events?${ending}`;
    const connection = await start(get(path), path);
    await expect.poll(() => connection.transcript.length).toBeGreaterThan(20);
    stage.peerOf(path)?.[ending]();
    await soon(() => connection.socket.destroyed);
    expect(connection.transcript.toString("latin1")).not.toContain("\r\n0\r\n");
  });

  it.each(["end", "cut", "reset"] as const)("in an upload (%s) is 502 for the agent", async (ending) => {
    const path = `/never?${ending}`;
    const connection = await start(
      `POST ${path} HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000000\r\n\r\nhalf`,
      path,
    );
    stage.peerOf(path)?.[ending]();
    const response = await connection.receive();
    expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([502, ["UPSTREAM_RESET"]]);
    connection.destroy();
  });
});

/** Timers and handles of this process, which is the sidecar's too; by kind, without those that come and go by themselves. */
const resources = (): Readonly<Record<string, number>> => {
  const counted: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) {
    if (name === "TCPSocketWrap" || name === "Timeout" || name === "TLSWrap") counted[name] = (counted[name] ?? 0) + 1;
  }
  return counted;
};

describe("200 agents that leave at any moment", () => {
  it("leave nothing behind", { timeout: 120_000 }, async () => {
    await expect.poll(() => stage.upstream.open, { timeout: 20_000 }).toBeLessThanOrEqual(1);
    await new Promise((resolve) => setTimeout(resolve, 600));
    const before = resources();
    const uploadsBefore = uploads;
    // The same moments in each run: a small linear congruential generator.
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed % below;
    };
    const one = async (n: number): Promise<void> => {
      const kinds = [
        get(`/silent?${n}`),
        get(`/endless?${n}`),
        get(`/events?${n}`),
        `POST /never?u${n} HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 100000\r\n\r\n${"u".repeat(random(50_000))}`,
        `POST /silent?c${n} HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 4\r\n\r\n`,
      ];
      const connection = await stage.tunnel();
      const bytes = kinds[n % kinds.length] ?? "";
      connection.send(bytes.slice(0, random(4) === 0 ? random(bytes.length) : bytes.length));
      await new Promise((resolve) => setTimeout(resolve, random(60)));
      connection.destroy();
    };
    for (let n = 0; n < 200; n += 10) {
      await Promise.all(Array.from({ length: 10 }, (_, index) => one(n + index)));
    }
    expect(uploads).toBeGreaterThan(uploadsBefore);
    // No request is in flight any more: what is open at the upstream is kept for the next, or nothing.
    await expect.poll(() => stage.upstream.open).toBeLessThanOrEqual(1);
    await expect
      .poll(
        () => {
          const now = resources();
          return Object.keys(now).filter((name) => (now[name] ?? 0) > (before[name] ?? 0) + 3);
        },
        { interval: 500 },
      )
      .toEqual([]);
    const { response, connection } = await stage.ask(get("/after"));
    expect(response.status).toBe(200);
    connection.destroy();
  });

  it("have an outcome for every intent", async () => {
    await expect
      .poll(async () => {
        const records = await stage.sidecar.audit();
        const ended = new Set(records.filter(({ type }) => type === "outcome").map((one) => one["request_id"]));
        return records.filter(({ type }) => type === "intent").filter((one) => !ended.has(one["request_id"]));
      })
      .toEqual([]);
  });
});
