/** Ruling 13: only a body whose end is vouched for ends; whatever breaks off is an abort for the agent too. */
import { once } from "node:events";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Wire } from "../../src/sidecar/net/wire.ts";
import { createHostileStage, get, HOST, type HostileStage } from "../support/hostile-stage.ts";
import { openConnection } from "../support/raw-client.ts";
import { type RawPeer, type RawScript, type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";

type Ending = "end" | "cut" | "reset";

/** What was promised before the connection ended. LF lets the scrubber release what it holds. */
const BEGINNINGS: Readonly<Record<string, string>> = {
  length: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf\n",
  "length-and-close": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\nhalf\n",
  "length-1.0": "HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhalf\n",
  chunks: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n",
  "chunks-and-close": "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n",
  "inside-a-chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf\n",
  "inside-a-chunk-size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n1",
  "without-the-last-line": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n0\r\n",
  "inside-a-trailer": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n0\r\nX-A: b\r\n",
};
const CLOSE_DELIMITED: Readonly<Record<string, string>> = {
  close: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole\n",
  "close-unsaid": "HTTP/1.1 200 OK\r\n\r\nwhole\n",
  "close-1.0": "HTTP/1.0 200 OK\r\n\r\nwhole\n",
};
const HEADS: Readonly<Record<string, string>> = {
  nothing: "",
  "half-a-status-line": "HTTP/1.1 2",
  "half-a-head": "HTTP/1.1 200 OK\r\nContent-Le",
  "a-head-without-its-end": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
};
const ENDINGS: readonly Ending[] = ["end", "cut", "reset"];

const answers: Record<string, RawScript> = {
  // Both wait for the reader in the system, which then says "end of file" behind the bytes and nothing of the reset.
  "close.bytes-and-reset": (_request, peer) => {
    void peer.send(CLOSE_DELIMITED["close"] as string);
    peer.reset();
  },
};
for (const [name, bytes] of Object.entries({ ...BEGINNINGS, ...CLOSE_DELIMITED, ...HEADS })) {
  for (const ending of ENDINGS) {
    answers[`${name}.${ending}`] = async (_request, peer: RawPeer) => {
      if (bytes !== "") await peer.send(bytes);
      // A reset overtakes what the system has not handed over yet.
      setTimeout(() => peer[ending](), bytes === "" ? 0 : 50);
    };
  }
}

let stage: HostileStage;

beforeAll(async () => {
  stage = await createHostileStage({ answers });
});

afterAll(() => stage.close());

const pairs = (names: Readonly<Record<string, string>>, endings = ENDINGS): string[] =>
  Object.keys(names).flatMap((name) => endings.map((ending) => `${name}.${ending}`));

describe("over TLS", () => {
  it.each(pairs(CLOSE_DELIMITED, ["end"]))("close_notify is the end of a body without length (%s)", async (name) => {
    const { response, connection } = await stage.ask(get(`/${name}`));
    expect([response.status, String(response.body)]).toEqual([200, "whole\n"]);
    expect(response.headers.get("transfer-encoding")).toEqual(["chunked"]);
    expect(await stage.after(connection)).not.toBe(stage.peerOf(`/${name}`)?.number);
    expect(await stage.outcome(`/${name}`)).toMatchObject({ outcome: "ok" });
  });

  it.each(pairs(CLOSE_DELIMITED, ["cut", "reset"]))("any other end of one (%s) is an abort", async (name) => {
    const received = await stage.cut(get(`/${name}`));
    expect(received).not.toContain("\r\n0\r\n");
    expect(await stage.outcome(`/${name}`)).toMatchObject({ outcome: "upstream_aborted", status: 200 });
  });

  it.each(pairs(BEGINNINGS))("a body that breaks off (%s) is cut for the agent", async (name) => {
    const received = await stage.cut(get(`/${name}`));
    expect(received).not.toContain("\r\n0\r\n");
    expect(await stage.after()).not.toBe(stage.peerOf(`/${name}`)?.number);
    expect(await stage.outcome(`/${name}`)).toMatchObject({ outcome: "upstream_aborted", status: 200 });
  });

  it.each(pairs(HEADS))("an answer that ends before its body (%s) is a refusal", async (name) => {
    expect(await stage.refusal(`/${name}`)).toEqual([502, "UPSTREAM_RESET"]);
    await stage.after();
  });
});

describe("an upstream that has always told the length of its bodies", () => {
  let trusted: HostileStage;

  beforeAll(async () => {
    trusted = await createHostileStage({ answers });
  });

  afterAll(() => trusted.close());

  it("is not watched any more: what it ends by closing is cut once, and vouched for from then on", async () => {
    await trusted.trust();
    // Two connections, both kept, that can't tell an end.
    const [one, two] = await Promise.all([trusted.tunnel(), trusted.tunnel()]);
    for (const connection of [one, two]) connection.send(get("/after"));
    await Promise.all([one.receive(), two.receive()]);
    expect(await trusted.cut(get("/close.end"))).not.toContain("\r\n0\r\n");
    expect(await trusted.outcome("/close.end")).toMatchObject({ outcome: "upstream_aborted" });
    for (let n = 0; n < 40; n++) {
      const { response, connection } = await trusted.ask(get("/close.end"));
      expect([n, String(response.body)]).toEqual([n, "whole\n"]);
      await trusted.after(connection);
    }
    expect(await trusted.cut(get("/close.cut"))).not.toContain("\r\n0\r\n");
    one.destroy();
    two.destroy();
  });

  it.each(["length.end", "length.cut", "chunks.reset", "inside-a-chunk.cut"])(
    "is cut where it breaks off: %s",
    async (name) => {
      expect(await trusted.cut(get(`/${name}`))).not.toContain("\r\n0\r\n");
    },
  );
});

describe("an agent that speaks HTTP/1.0", () => {
  /** The answer, and how its TLS ended. */
  const ask10 = async (name: string): Promise<{ text: string; end: "close_notify" | "FIN" }> => {
    const socket = connect(stage.sidecar.port, "127.0.0.1");
    socket.write(`CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\n\r\n`);
    await once(socket, "data");
    const wire = new Wire(socket);
    const secure = connectTls({ socket: wire, servername: HOST, ca: stage.sidecar.ca });
    let text = "";
    let end: "close_notify" | "FIN" = "FIN";
    wire.once("end", () => secure.off("end", announced));
    const announced = (): void => {
      end = "close_notify";
    };
    secure.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    secure.once("end", announced).on("error", () => undefined);
    secure.write(`GET /${name} HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`);
    // Not by `once`, which an error would reject: after a bare FIN there is one.
    await new Promise((resolve) => secure.once("close", resolve));
    return { text, end };
  };

  it("gets a body that close_notify ends", async () => {
    const { text, end } = await ask10("close.end");
    expect(text).toMatch(/^HTTP\/1\.[01] 200 /);
    expect(text).not.toMatch(/transfer-encoding/i);
    expect([text.split("\r\n\r\n")[1], end]).toEqual(["whole\n", "close_notify"]);
  });

  it.each(["close.cut", "close.reset", "chunks.end", "inside-a-chunk.cut"])("is told of %s by none", async (name) => {
    expect((await ask10(name)).end).toBe("FIN");
  });
});

describe("in cleartext", () => {
  let plain: RawUpstream;
  let sidecar: TestSidecar;

  beforeAll(async () => {
    plain = await startRawUpstream({
      script: (request, peer) => answers[request.path.slice(1)]?.(request, peer),
    });
    sidecar = await startTestSidecar({
      environment: { KEY: "canary-of-the-cleartext-route" },
      file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes: { plain: { match: "http://${plain.address}/**", secret: KEY } }
`,
    });
  });

  afterAll(async () => {
    await sidecar.close();
    await plain.close();
  });

  const target = (name: string, version = "1.1"): string =>
    `GET http://${plain.address}/${name} HTTP/${version}\r\nHost: ${plain.address}\r\n\r\n`;

  it("FIN is the end of a body without length", async () => {
    const connection = await openConnection(sidecar.port);
    connection.send(target("close.end"));
    expect(String((await connection.receive()).body)).toBe("whole\n");
    connection.destroy();
  });

  it("a reset is none", async () => {
    const connection = await openConnection(sidecar.port);
    connection.send(target("close.reset"));
    await expect(connection.receive()).rejects.toThrow("connection ended");
    expect(connection.transcript.toString("latin1")).not.toContain("\r\n0\r\n");
  });

  it("nor is one that comes together with the last bytes", async () => {
    const connection = await openConnection(sidecar.port);
    connection.send(target("close.bytes-and-reset"));
    await expect(connection.receive()).rejects.toThrow("connection ended");
    expect(connection.transcript.toString("latin1")).not.toContain("\r\n0\r\n");
    const last = { outcome: "upstream_aborted", code: "UPSTREAM_RESET" };
    await expect.poll(async () => (await sidecar.audit()).at(-1)).toMatchObject(last);
  });

  it.each(["close.reset", "length.end", "chunks.cut"])("an HTTP/1.0 agent is told of %s by a reset", async (name) => {
    const socket = connect(sidecar.port, "127.0.0.1");
    const ended = new Promise<string>((resolve) => {
      socket.on("data", () => undefined);
      socket.once("end", () => resolve("FIN"));
      socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
    });
    socket.write(target(name, "1.0"));
    expect(await ended).toBe("ECONNRESET");
  });
});
