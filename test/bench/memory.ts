/**
 * `npm run bench:memory`: resident memory of the built sidecar (VmRSS and VmHWM of /proc), where it could grow: a body
 * of 1 GB through a slow reader, down and up, hashed at both ends; idle intercepted tunnels; idle keep-alive
 * connections. It prints figures and asserts none, but for bodies that arrive changed.
 */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { createServer } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { parseArgs } from "node:util";
import { readMemory } from "./measure.ts";
import { sidekey } from "./subjects/sidekey.ts";
import { createWorkbench, HOST } from "./workbench.ts";

const MIB = 1024 * 1024;
const PIECE = randomBytes(64 * 1024);
/** Slow: a pause after each so many bytes read, 100 MB/s at most. */
const SIP = MIB;
const PAUSE_MS = 10;

const { values } = parseArgs({
  options: {
    mebibytes: { type: "string", default: "1024" },
    tunnels: { type: "string", default: "2000" },
    connections: { type: "string", default: "8900" },
  },
});
const largeBytes = Number(values.mebibytes) * MIB;
/** V8 lets 64 MiB of external buffers gather once before it collects them; what comes after that is the answer. */
const FIRST_BYTES = 64 * MIB;

/** Reads slowly; resolves with the hash of everything. */
const readSlowly = async (stream: IncomingMessage): Promise<string> => {
  const hash = createHash("sha256");
  let sip = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    sip += chunk.length;
    if (sip < SIP) continue;
    sip = 0;
    await sleep(PAUSE_MS);
  }
  return hash.digest("hex");
};

/** Writes as fast as is taken; resolves with the hash. */
const writeAll = async (stream: NodeJS.WritableStream, bytes: number): Promise<string> => {
  const hash = createHash("sha256");
  for (let sent = 0; sent < bytes; sent += PIECE.length) {
    hash.update(PIECE);
    if (!stream.write(PIECE)) await once(stream, "drain");
  }
  stream.end();
  return hash.digest("hex");
};

const bench = await createWorkbench([]);
try {
  let downHash = "";
  const upstream = createServer(
    { cert: readFileSync(bench.certificate), key: readFileSync(bench.key) },
    async (request, response) => {
      if (request.headers.authorization !== `Bearer ${bench.secret}`) return void response.writeHead(401).end();
      if (request.method === "POST") return void response.end(await readSlowly(request));
      const bytes = Number(/^\/down\/(\d+)$/.exec(request.url ?? "")?.[1]);
      if (Number.isNaN(bytes)) return void response.end("fine");
      response.writeHead(200, { "Content-Length": String(bytes) });
      downHash = await writeAll(response, bytes);
    },
  );
  upstream.listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const subject = await sidekey.start({ ...bench, upstreamPort: (upstream.address() as AddressInfo).port });
  const { pid, port } = subject;
  const ca = readFileSync(subject.ca);

  const report = (what: string, detail = ""): void => {
    const { now, peak } = readMemory(pid);
    console.log(`${what.padEnd(34)} ${now.toFixed(0).padStart(5)} MiB now, peak ${peak.toFixed(0)} ${detail}`);
  };
  /** From here on `peak` is that of what follows (proc(5), clear_refs). */
  const forgetPeak = (): number => {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
    return readMemory(pid).now;
  };
  const rise = (before: number): string => `(rises by ${(readMemory(pid).peak - before).toFixed(0)})`;

  const openTcp = async (): Promise<Socket> => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return socket;
  };
  const openTunnel = async (): Promise<TLSSocket> => {
    const socket = await openTcp();
    socket.write(`CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\n\r\n`);
    await once(socket, "data");
    const secure = connectTls({ socket, servername: HOST, ca });
    await once(secure, "secureConnect");
    return secure;
  };
  const call = async (method: string, path: string, socket: Socket) => {
    const headers = { Host: HOST, ...(method === "POST" && { "Content-Length": String(largeBytes) }) };
    const request = httpRequest({ createConnection: () => socket, method, path, headers });
    const answered = once(request, "response") as Promise<[IncomingMessage]>;
    const hash = method === "POST" ? writeAll(request, largeBytes) : undefined;
    if (hash === undefined) request.end();
    const [response] = await answered;
    if (response.statusCode !== 200) throw new Error(`${method} ${path}: ${response.statusCode}`);
    return { sent: await hash, response };
  };
  const readText = async (response: IncomingMessage): Promise<string> => {
    let text = "";
    for await (const chunk of response) text += String(chunk);
    return text;
  };

  report("started");
  await readText((await call("GET", "/small", await openTunnel())).response);
  report("after the first interception");

  let before = 0;
  let began = 0;
  const begin = (): void => {
    before = forgetPeak();
    began = performance.now();
  };
  const rate = (bytes: number): string => `${(bytes / 1000 / (performance.now() - began)).toFixed(0)} MB/s`;
  for (const bytes of [FIRST_BYTES, largeBytes]) {
    begin();
    const { response } = await call("GET", `/down/${bytes}`, await openTunnel());
    if ((await readSlowly(response)) !== downHash) throw new Error("the download arrived changed");
    report(`${bytes / MIB} MiB down, slow reader`, `${rise(before)}, ${rate(bytes)}`);
  }

  begin();
  const up = await call("POST", "/up", await openTunnel());
  if ((await readText(up.response)) !== up.sent) throw new Error("the upload arrived changed");
  report(`${values.mebibytes} MiB up, slow reader`, `${rise(before)}, ${rate(largeBytes)}`);

  /** Opens `count`, 50 at a time, and keeps them open. */
  const openMany = async <T>(count: number, open: () => Promise<T>): Promise<T[]> => {
    const all: T[] = [];
    while (all.length < count) {
      all.push(...(await Promise.all(Array.from({ length: Math.min(50, count - all.length) }, open))));
    }
    return all;
  };
  const idle = async <T extends Socket>(what: string, count: number, open: () => Promise<T>): Promise<void> => {
    begin();
    const sockets = await openMany(count, open);
    const kib = ((readMemory(pid).now - before) * 1024) / count;
    report(`${count} ${what}`, `(${kib.toFixed(0)} KiB each)`);
    for (const socket of sockets) socket.destroy();
    await sleep(1000);
  };
  await idle("idle intercepted tunnels", Number(values.tunnels), async () => {
    const secure = await openTunnel();
    secure.write(`GET /small HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    await once(secure, "data");
    return secure;
  });
  await idle("idle keep-alive connections", Number(values.connections), async () => {
    const socket = await openTcp();
    // Any answer that keeps the connection: no route, and nothing sent.
    socket.write("GET http://nobody.test/ HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    await once(socket, "data");
    return socket;
  });
  report("a second after they have left");
  await subject.close();
  upstream.close();
  upstream.closeAllConnections();
} finally {
  await bench.close();
}
