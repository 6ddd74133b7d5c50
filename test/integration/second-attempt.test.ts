/** A 401 from the upstream (ruling 6): the secret fetched past the cache, the request sent once more or not at all. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { openConnection, type RawConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { type ReceivedRequest, startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";

const OLD = "canary-old-5d1f0c93b7e84a26";
const NEW = "canary-new-91ab6e72c0d35f48";
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Stage {
  readonly upstream: TestUpstream;
  readonly sidecar: TestSidecar;
  rotate(value?: string): void;
  connect(): Promise<RawConnection>;
  /** Records of requests, in order, as `type attempt status outcome`. */
  records(): Promise<string[]>;
  url(path?: string): string;
}

const keyOf = ({ header }: ReceivedRequest): string => header("x-api-key")[0] ?? "";

/** Takes the newer key alone. */
const takesNew: UpstreamHandler = async (request, response, received) => {
  for await (const _ of request);
  answer(response, keyOf(received) === NEW ? 200 : 401);
};

const answer = (response: ServerResponse, status: number, body = `answer ${status}`): void => {
  response.writeHead(status, { "content-length": body.length, ...(status === 401 && { "www-authenticate": "Key" }) });
  response.end(body);
};

/** With the old key in the cache, and no request in the records. */
const open = async (handler: UpstreamHandler = takesNew, reference = "key"): Promise<Stage> => {
  let warm = true;
  const upstream = await startUpstream({
    handler: async (request, response, received) => {
      if (!warm) return handler(request, response, received);
      answer(response, 200);
    },
  });
  closers.push(() => upstream.close());
  const sidecar = await startTestSidecar({
    files: { key: OLD },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { files: { kind: file, root: . } }
routes:
  api: { match: "http://127.0.0.1:${upstream.port}/**", secret: "${reference}", inject: { kind: header, name: X-Api-Key } }
`,
  });
  closers.push(() => sidecar.close());
  const connections: RawConnection[] = [];
  closers.push(async () => {
    for (const connection of connections) connection.destroy();
  });
  const stage: Stage = {
    upstream,
    sidecar,
    rotate: (value = NEW) => writeFileSync(join(sidecar.directory, "key"), value),
    async connect() {
      const connection = await openConnection(sidecar.port);
      connections.push(connection);
      return connection;
    },
    async records() {
      const all = (await sidecar.audit()).filter(({ type }) => type !== "start").slice(2);
      expect(new Set(all.map((record) => record["request_id"])).size).toBeLessThanOrEqual(1);
      return all.map(({ type, attempt, status, outcome, code }) =>
        [type, attempt, status, outcome, code].filter((part) => part !== undefined).join(" "),
      );
    },
    url: (path = "/") => `http://127.0.0.1:${upstream.port}${path}`,
  };
  const connection = await stage.connect();
  connection.send(head(stage, "GET"));
  expect((await connection.receive()).status).toBe(200);
  warm = false;
  return stage;
};

const head = (stage: Stage, method: string, more: readonly string[] = []): string =>
  [`${method} ${stage.url()} HTTP/1.1`, `Host: 127.0.0.1:${stage.upstream.port}`, ...more, "", ""].join("\r\n");

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

const bodyOf = (length: number): Buffer => Buffer.alloc(length, "0123456789abcdefghijklmnopqrstuvwxyz-");

const TWICE = ["intent", "intent 2", "outcome 401 ok", "outcome 2 200 ok"];

describe("a secret that was rotated", () => {
  it("is fetched at the upstream's 401, and the request sent once more, on record twice under one id", async () => {
    const stage = await open();
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    const response = await connection.receive();
    expect([response.status, response.body.toString()]).toEqual([200, "answer 200"]);
    expect(stage.upstream.requests.slice(1).map(keyOf)).toEqual([OLD, NEW]);
    await expect.poll(() => stage.records()).toEqual(TWICE);
    const first = (await stage.sidecar.audit()).find(({ reason }) => reason !== undefined && reason !== "new chain");
    expect(first).toMatchObject({ type: "outcome", status: 401, reason: "repeated with a newer secret" });
    // The connection goes on, and the new one is what everybody gets now.
    connection.send(head(stage, "GET"));
    expect((await connection.receive()).status).toBe(200);
    expect(stage.upstream.requests.slice(1).map(keyOf)).toEqual([OLD, NEW, NEW]);
  });

  it.each([
    ["of known length", 1],
    ["of known length, the largest", 256 * 1024],
    ["in chunks", 5_000],
    ["in chunks, the largest", 256 * 1024],
  ])("repeats a body %s", async (kind, length) => {
    const stage = await open();
    stage.rotate();
    const body = bodyOf(length);
    const connection = await stage.connect();
    if (kind.startsWith("of")) {
      connection.send(head(stage, "POST", [`Content-Length: ${length}`]));
      connection.send(body);
    } else {
      connection.send(head(stage, "POST", ["Transfer-Encoding: chunked"]));
      for (let at = 0; at < length; at += 1_000) {
        const chunk = body.subarray(at, at + 1_000);
        connection.send(Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n")]));
      }
      connection.send("0\r\n\r\n");
    }
    expect((await connection.receive()).status).toBe(200);
    const [first, second] = stage.upstream.requests.slice(1);
    expect([first?.body, second?.body].map((one) => sha(one ?? Buffer.alloc(0)))).toEqual([sha(body), sha(body)]);
    for (const name of ["content-length", "transfer-encoding"]) {
      expect(second?.header(name)).toEqual(first?.header(name));
    }
    await expect.poll(() => stage.records()).toEqual(TWICE);
  });

  it("repeats what the agent sent only after it was told to go on", async () => {
    const stage = await open();
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "PUT", ["Content-Length: 5", "Expect: 100-continue"]));
    expect((await connection.receive()).status).toBe(100);
    connection.send("hello");
    expect((await connection.receive()).status).toBe(200);
    expect(stage.upstream.requests.slice(1).map(({ body }) => body.toString())).toEqual(["hello", "hello"]);
  });

  it("repeats a HEAD", async () => {
    const stage = await open();
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "HEAD"));
    expect((await connection.receive("HEAD")).status).toBe(200);
    expect(stage.upstream.requests.slice(1).map(keyOf)).toEqual([OLD, NEW]);
  });

  it("is fetched once for a hundred requests that all got a 401", async () => {
    const waiting: (() => void)[] = [];
    const stage = await open(async (_request, response, received) => {
      if (keyOf(received) === NEW) return answer(response, 200);
      waiting.push(() => answer(response, 401));
      if (waiting.length === 100) for (const go of waiting) go();
    });
    stage.rotate();
    const statuses = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const connection = await stage.connect();
        connection.send(head(stage, "GET"));
        return (await connection.receive()).status;
      }),
    );
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(stage.upstream.requests.slice(1).filter((one) => keyOf(one) === NEW)).toHaveLength(100);
    expect(stage.upstream.requests).toHaveLength(201);
  });

  it("is looked for in responses, and so is the one before it", async () => {
    const stage = await open(async (_request, response, received) => {
      if (keyOf(received) === NEW) answer(response, 200, `${OLD} ${NEW} ${Buffer.from(OLD).toString("base64")}`);
      else answer(response, 401, `no: ${OLD}`);
    });
    stage.rotate();
    for (let i = 0; i < 2; i++) {
      const connection = await stage.connect();
      connection.send(head(stage, "GET"));
      const { body } = await connection.receive();
      expect(body.toString()).toMatch(/^\[redacted\]\*+ \[redacted\]\*+ \[redacted\]\*+$/);
    }
  });
});

describe("a 401 is relayed as it is", () => {
  it("when the secret is the same", async () => {
    const stage = await open();
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    const response = await connection.receive();
    expect([response.status, response.body.toString()]).toEqual([401, "answer 401"]);
    expect(response.headers.get("www-authenticate")).toEqual(["Key"]);
    await expect.poll(() => stage.records()).toEqual(["intent", "outcome 401 ok"]);
    expect(stage.upstream.requests).toHaveLength(2);
  });

  it("whole, when its body is large", async () => {
    const large = bodyOf(3_000_000).toString();
    const stage = await open(async (_request, response) => answer(response, 401, large));
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    const { status, body } = await connection.receive();
    expect([status, sha(body)]).toEqual([401, sha(Buffer.from(large))]);
  });

  it("the second time, with what the upstream said then", async () => {
    const stage = await open(async (_request, response, received) => answer(response, 401, `no ${keyOf(received)}!`));
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    const { status, body } = await connection.receive();
    expect([status, body.toString()]).toEqual([401, `no [redacted]${"*".repeat(NEW.length - 10)}!`]);
    expect(stage.upstream.requests).toHaveLength(3);
    await expect.poll(() => stage.records()).toEqual(["intent", "intent 2", "outcome 401 ok", "outcome 2 401 ok"]);
  });

  it("when the body does not fit into the buffer, which streams all the same", async () => {
    const stage = await open();
    stage.rotate();
    const body = bodyOf(256 * 1024 + 1);
    for (const framing of ["length", "chunks"]) {
      const connection = await stage.connect();
      if (framing === "length") {
        connection.send(head(stage, "POST", [`Content-Length: ${body.length}`]));
        connection.send(body);
      } else {
        connection.send(head(stage, "POST", ["Transfer-Encoding: chunked"]));
        connection.send(`${body.length.toString(16)}\r\n`);
        connection.send(body);
        connection.send("\r\n0\r\n\r\n");
      }
      expect((await connection.receive()).status).toBe(401);
    }
    const requests = stage.upstream.requests.slice(1);
    expect(requests.map((one) => [keyOf(one), sha(one.body)])).toEqual([
      [OLD, sha(body)],
      [OLD, sha(body)],
    ]);
  });

  it("when it comes before the end of the upload", async () => {
    const stage = await open(async (_request, response) => answer(response, 401));
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "POST", ["Content-Length: 100"]));
    connection.send("half");
    expect((await connection.receive()).status).toBe(401);
    expect(stage.upstream.requests).toHaveLength(2);
  });

  it("when the secret is gone", async () => {
    const stage = await open();
    stage.rotate("");
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    expect((await connection.receive()).status).toBe(401);
    await expect.poll(() => stage.records()).toEqual(["intent", "outcome 401 ok"]);
    connection.send(head(stage, "GET"));
    const refused = await connection.receive();
    expect(refused.headers.get("x-sidekey-error")).toEqual(["SOURCE_SECRET_MISSING"]);
  });

  it("when the secret was asked for less than a second ago", async () => {
    const stage = await open();
    for (let i = 0; i < 2; i++) {
      const connection = await stage.connect();
      connection.send(head(stage, "GET"));
      expect((await connection.receive()).status).toBe(401);
      stage.rotate();
    }
    expect(stage.upstream.requests.slice(1).map(keyOf)).toEqual([OLD, OLD]);
  });
});

describe("nothing else is repeated", () => {
  it.each([400, 403, 407, 429, 500, 503])("not a %i", async (status) => {
    const stage = await open(async (_request, response) => answer(response, status));
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    await connection.receive();
    expect(stage.upstream.requests).toHaveLength(2);
  });

  it("not a second attempt that fails: that is the answer", async () => {
    const stage = await open(async (request: IncomingMessage, response, received) => {
      if (keyOf(received) === OLD) answer(response, 401);
      else request.socket.destroy();
    });
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    const { status, headers } = await connection.receive();
    expect([status, headers.get("x-sidekey-error")]).toEqual([502, ["UPSTREAM_RESET"]]);
    expect(stage.upstream.requests).toHaveLength(3);
    await expect
      .poll(() => stage.records())
      .toEqual(["intent", "intent 2", "outcome 401 ok", "outcome 2 502 upstream_aborted UPSTREAM_RESET"]);
  });

  it("and an agent that leaves during the second attempt ends it", async () => {
    const stage = await open(async (_request, response, received) => {
      if (keyOf(received) === OLD) answer(response, 401);
    });
    stage.rotate();
    const connection = await stage.connect();
    connection.send(head(stage, "GET"));
    await expect.poll(() => stage.upstream.requests.length).toBe(3);
    connection.destroy();
    await expect
      .poll(() => stage.records())
      .toEqual(["intent", "intent 2", "outcome 401 ok", "outcome 2 client_aborted"]);
    await expect.poll(() => stage.upstream.open).toBeLessThanOrEqual(1);
  });
});
