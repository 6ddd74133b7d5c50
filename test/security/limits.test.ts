/** How much at once: exactly as much as the file says, and a place is free again however its holder left. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { openConnection, openTunnel, type RawConnection, type RawResponse } from "../support/raw-client.ts";
import { type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

const LIMIT = 3;

let upstream: RawUpstream;
let sidecar: TestSidecar;

beforeAll(async () => {
  upstream = await startRawUpstream({
    script: (request, peer) => {
      if (request.path === "/answered") return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      if (request.path === "/begun") return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok\n");
    },
  });
  sidecar = await startTestSidecar({
    environment: { KEY: "canary-of-the-limits" },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
limits: { tunnels: ${LIMIT}, streams: ${LIMIT} }
sources: { env: { kind: env } }
routes: { api: { match: "http://${upstream.address}/**", secret: KEY } }
`,
  });
});

afterAll(async () => {
  await sidecar.close();
  await upstream.close();
});

const ask = async (path: string): Promise<RawConnection> => {
  const connection = await openConnection(sidecar.port);
  connection.send(`GET http://${upstream.address}${path} HTTP/1.1\r\nHost: ${upstream.address}\r\n\r\n`);
  return connection;
};

const codeOf = ({ status, headers }: RawResponse): string => `${status} ${headers.get("x-sidekey-error")?.[0] ?? ""}`;

const answerTo = async (path: string): Promise<string> => {
  const connection = await ask(path);
  const code = codeOf(await connection.receive());
  connection.destroy();
  return code;
};

it.each([
  ["before the answer", "/silent", (one: RawConnection) => void one.destroy()],
  ["in the answer", "/begun", (one: RawConnection) => void one.destroy()],
  ["with a FIN", "/silent", (one: RawConnection) => void one.socket.end()],
])("takes so many requests at once, and others when those left %s", async (_, path, leave) => {
  const begun = upstream.requests.length;
  const waiting = await Promise.all(Array.from({ length: LIMIT }, () => ask(path)));
  await expect.poll(() => upstream.requests.length - begun).toBe(LIMIT);
  expect(await answerTo("/answered")).toBe("503 OVERLOADED");
  expect(upstream.requests.length - begun).toBe(LIMIT);
  for (const one of waiting.slice(1)) leave(one);
  await expect.poll(() => answerTo("/answered")).toBe("200 ");
  leave(waiting[0] as RawConnection);
  for (const one of waiting) one.destroy();
  await expect.poll(() => upstream.open).toBeLessThanOrEqual(1);
});

it("takes so many tunnels at once, and others when those were closed", async () => {
  const connect = async (): Promise<{ readonly code: string; readonly connection: RawConnection }> => {
    const { response, connection } = await openTunnel(sidecar.port, upstream.address);
    return { code: codeOf(response), connection };
  };
  const open: RawConnection[] = [];
  for (let i = 0; i < LIMIT; i++) {
    const { code, connection } = await connect();
    expect(code).toBe("200 ");
    open.push(connection);
  }
  expect((await connect()).code).toBe("503 OVERLOADED");
  open.pop()?.destroy();
  await expect
    .poll(async () => {
      const { code, connection } = await connect();
      if (code !== "200 ") connection.destroy();
      else open.push(connection);
      return code;
    })
    .toBe("200 ");
  expect((await connect()).code).toBe("503 OVERLOADED");
  for (const one of open) one.destroy();
});
