/** R27: a kept connection that has died: never a second copy of a request, never another request's answer. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHostileStage, get, HOST, type HostileStage } from "../support/hostile-stage.ts";
import type { RawPeer, RawScript } from "../support/raw-upstream.ts";

const ok = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const endings = ["end", "cut", "reset"] as const;

const answers: Record<string, RawScript> = { kept: (_request, peer) => peer.send(ok("kept")) };
for (const ending of endings) {
  answers[`idle-${ending}`] = async (_request, peer: RawPeer) => {
    await peer.send(ok("kept"));
    setTimeout(() => peer[ending](), 20);
  };
  answers[`busy-${ending}`] = (_request, peer: RawPeer) => peer[ending]();
}
answers["random"] = async ({ path }, peer) => {
  const n = Number(path.split("?")[1]);
  await peer.send(ok(String(n)));
  const ending = endings[n % 3];
  if (ending !== undefined) setTimeout(() => peer[ending](), n % 11);
};

let stage: HostileStage;

beforeAll(async () => {
  stage = await createHostileStage({ answers });
});

afterAll(() => stage.close());

const arrived = (path: string): number => stage.upstream.requests.filter((request) => request.path === path).length;

describe("a kept connection", () => {
  it.each(endings)("that the upstream left while it was idle (%s) is not used again", async (ending) => {
    const { connection } = await stage.ask(get(`/idle-${ending}`));
    const old = stage.peerOf(`/idle-${ending}`);
    await expect.poll(() => old?.closed).toBe(true);
    expect(await stage.after(connection)).not.toBe(old?.number);
  });

  it.each(endings.flatMap((ending) => ["GET", "POST"].map((method) => [method, ending] as const)))(
    "that dies under a %s (%s) is 502, and the request is not sent again",
    async (method, ending) => {
      const { connection } = await stage.ask(get("/kept"));
      const path = `/busy-${ending}?${method}`;
      const body = method === "POST" ? "Content-Length: 2\r\n\r\nhi" : "\r\n";
      connection.send(`${method} ${path} HTTP/1.1\r\nHost: ${HOST}\r\n${body}`);
      const response = await connection.receive();
      expect([response.status, response.headers.get("x-sidekey-error")]).toEqual([502, ["UPSTREAM_RESET"]]);
      expect(arrived(path)).toBe(1);
      expect(stage.peerOf(path)?.number).toBe(stage.peerOf("/kept")?.number);
      await stage.after(connection);
    },
  );

  it("that dies at any moment gives each request its own answer, or 502", async () => {
    let connection = await stage.tunnel();
    const statuses: number[] = [];
    for (let n = 0; n < 150; n++) {
      const path = `/random?${n}`;
      connection.send(get(path));
      const response = await connection.receive();
      statuses.push(response.status);
      if (response.status === 200) expect(String(response.body)).toBe(String(n));
      else expect([n, response.headers.get("x-sidekey-error")]).toEqual([n, ["UPSTREAM_RESET"]]);
      expect(arrived(path)).toBeLessThanOrEqual(1);
      if (connection.socket.destroyed) connection = await stage.tunnel();
    }
    connection.destroy();
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(100);
  });
});
