/**
 * `npm run bench:startup`: from the spawn of the built program to its ready line and to the first answer through it, and
 * its resident memory, against `node -e 0`, the two in turn. Medians. `first`: in an empty state directory, where keys,
 * CA and vault are made; `later`: with all that there. It prints figures and asserts none.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median, readMemory } from "./measure.ts";
import { createWorkbench, HOST } from "./workbench.ts";

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const READY = "sidekey ready ";
const SECRET_PATH = "bench/upstream/key";
/** Until the process has settled and its memory is read. `ms` */
const SETTLE_MS = 1500;

const { values } = parseArgs({ options: { runs: { type: "string", default: "10" } } });
const runs = Number(values.runs);

/** Since the spawn, `ms`. */
interface Figures {
  readonly ready: number;
  readonly answered: number;
  /** Resident after that, `MiB`. */
  readonly memory: number;
}

const bare = async (): Promise<number> => {
  const began = performance.now();
  await once(spawn(process.execPath, ["-e", "0"], { stdio: "ignore" }), "exit");
  return performance.now() - began;
};

/** One request through CONNECT and TLS, to the end of its answer. */
const ask = async (port: number, ca: string): Promise<void> => {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.write(`CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\n\r\n`);
  await once(socket, "data");
  const secure = connectTls({ socket, servername: HOST, ca });
  secure.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
  let answer = "";
  for await (const chunk of secure) answer += String(chunk);
  if (!/^HTTP\/1\.1 200 /.test(answer) || !answer.includes("fine")) throw new Error(`answered: ${answer}`);
};

const stop = async (child: ChildProcess): Promise<void> => {
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
};

const launch = (directory: string) =>
  spawn(process.execPath, [MAIN, "start", "--log-level", "warn"], {
    cwd: directory,
    stdio: ["ignore", "pipe", "inherit"],
  });

const measure = async (directory: string): Promise<Figures> => {
  const began = performance.now();
  const child = launch(directory);
  try {
    const [line] = (await once(createInterface(child.stdout), "line")) as [string];
    const ready = performance.now() - began;
    const { pid, proxy } = JSON.parse(line.slice(READY.length)) as { readonly pid: number; readonly proxy: string };
    const ca = readFileSync(join(directory, "state/ca.pem"), "utf8");
    await ask(Number(proxy.split(":").at(-1)), ca);
    const answered = performance.now() - began;
    await sleep(SETTLE_MS);
    return { ready, answered, memory: readMemory(pid).now };
  } finally {
    await stop(child);
  }
};

/** Without a request: what a sidecar that nobody uses takes. `MiB` */
const measureIdle = async (directory: string): Promise<number> => {
  const child = launch(directory);
  try {
    await once(createInterface(child.stdout), "line");
    await sleep(SETTLE_MS);
    return readMemory(child.pid ?? 0).now;
  } finally {
    await stop(child);
  }
};

const bench = await createWorkbench([]);
try {
  const upstream = createServer(
    { cert: readFileSync(bench.certificate), key: readFileSync(bench.key) },
    (request, response) => {
      const isRight = request.headers.authorization === `Bearer ${bench.secret}`;
      response.writeHead(isRight ? 200 : 401).end(isRight ? "fine" : "no");
    },
  ).listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const { port } = upstream.address() as AddressInfo;
  const model = mkdtempSync(join(bench.directory, "startup-"));
  writeFileSync(
    join(model, "sidekey.yaml"),
    `version: 1
state: ./state
listen: { proxy: "127.0.0.1:0" }
upstream: { ca: ${JSON.stringify(bench.ca)}, connect: { "${HOST}:443": "127.0.0.1:${port}" } }
routes: { ${HOST}: ${SECRET_PATH} }
`,
  );
  const stored = spawnSync(process.execPath, [MAIN, "secret", "set", SECRET_PATH], { cwd: model, input: bench.secret });
  if (stored.status !== 0) throw new Error(String(stored.stderr));
  const fresh = (): string => {
    const directory = mkdtempSync(join(bench.directory, "startup-"));
    cpSync(model, directory, { recursive: true });
    return directory;
  };
  const known = fresh();
  await measure(known);

  const nodes: number[] = [];
  const firsts: Figures[] = [];
  const laters: Figures[] = [];
  const idles: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    nodes.push(await bare());
    const directory = fresh();
    firsts.push(await measure(directory));
    rmSync(directory, { recursive: true });
    nodes.push(await bare());
    laters.push(await measure(known));
    idles.push(await measureIdle(known));
  }
  const node = median(nodes);
  console.log(`node -e 0                ${node.toFixed(0)} ms`);
  for (const [name, all] of [
    ["first", firsts],
    ["later", laters],
  ] as const) {
    const ready = median(all.map((one) => one.ready));
    const answered = median(all.map((one) => one.answered));
    console.log(
      `${name} start: ready       ${ready.toFixed(0)} ms (${(ready / node).toFixed(1)}), first answer ${answered.toFixed(0)} ms (${(answered / node).toFixed(1)} times node -e 0)`,
    );
  }
  console.log(`memory idle              ${median(idles).toFixed(0)} MiB`);
  console.log(`after first interception ${median(laters.map((one) => one.memory)).toFixed(0)} MiB`);
  upstream.close();
} finally {
  await bench.close();
}
