/**
 * `npm run bench:scrub`: what scrubbing costs. Clean bodies of 10 MB through the built sidecar, beside the same sidecar
 * with nothing to look for; then the matcher alone, with 50 secrets that have many spellings, over clean texts and over
 * near matches. It prints figures and asserts none, but that the one sidecar scrubs and the other does not.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { parseArgs } from "node:util";
import { formsOf } from "../../src/sidecar/scrub/forms.ts";
import { createRedaction } from "../../src/sidecar/scrub/redaction.ts";
import { createScrubber } from "../../src/sidecar/scrub/scrubber.ts";
import { median, readCpuMicroseconds } from "./measure.ts";
import { OTHER_CORE, untilListening } from "./processes.ts";
import { sidekey } from "./subjects/sidekey.ts";
import type { RunningSubject } from "./subjects/subject.ts";
import { createWorkbench, findFreePort, HOST, type Workbench, writeNginxConfig } from "./workbench.ts";

const MB = 1_000_000;
const BODY_BYTES = 10 * MB;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    bodies: { type: "string", default: "10" },
    only: { type: "string", default: "sidecar,matcher" },
  },
});
const rounds = Number(values.rounds);
/** Bodies of one measurement: CPU time is counted in hundredths of a second. */
const batch = Number(values.bodies);

const filled = (bytes: number, with_: Buffer): Buffer => Buffer.alloc(bytes, with_);

const jsonBody = (): Buffer => {
  const text = 'The quick brown fox\njumps "over" the lazy dog; naïve, 100 % & <b>. '.repeat(6);
  const items = Array.from({ length: 500 }, (_, i) => ({ id: `msg_${i}`, role: "user", text, tokens: i * 7 }));
  return filled(BODY_BYTES, Buffer.from(JSON.stringify(items)));
};

const CLEAN: Readonly<Record<string, Buffer>> = {
  json: jsonBody(),
  base64: Buffer.from(randomBytes(BODY_BYTES * 0.75).toString("base64")),
  binary: randomBytes(BODY_BYTES),
};

// ---- Through the sidecar

/** The same program, but for a matcher without forms: what is read of it is changed on the way. */
const UNSCRUBBED = (() => {
  const hook = `import fs from "node:fs";
    import { syncBuiltinESMExports } from "node:module";
    const read = fs.readFileSync;
    fs.readFileSync = (path, ...options) => {
      const content = read(path, ...options);
      if (!String(path).endsWith("/program.cjs")) return content;
      const text = String(content);
      const changed = text.replace(/compileMatcher\\(\\s*\\[\\.\\.\\.forms\\.values\\(\\)\\]\\s*\\)/, "compileMatcher([])");
      if (changed === text) throw new Error("the program is not what this benchmark changes");
      return typeof content === "string" ? changed : Buffer.from(changed);
    };
    syncBuiltinESMExports();`;
  return `--import=data:text/javascript,${encodeURIComponent(hook)}`;
})();

const startUpstream = async (bench: Workbench): Promise<number> => {
  const bodies = join(bench.directory, "bodies");
  mkdirSync(bodies);
  // Started by root, nginx reads its files as nobody.
  chmodSync(bench.directory, 0o711);
  for (const [name, body] of Object.entries(CLEAN)) writeFileSync(join(bodies, name), body);
  const port = await findFreePort();
  const command = await writeNginxConfig(bench, "bodies.conf", { PORT: String(port), BODIES: bodies });
  await untilListening(port, bench.launcher.start(OTHER_CORE, command));
  return port;
};

const openTunnel = async ({ port, ca }: RunningSubject): Promise<TLSSocket> => {
  const socket: Socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  socket.write(`CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\n\r\n`);
  await once(socket, "data");
  const secure = connectTls({ socket, servername: HOST, ca: readFileSync(ca) });
  await once(secure, "secureConnect");
  return secure;
};

/** Resolves with the first bytes of the answer once all of it is here. */
const download = (socket: TLSSocket, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    let head = "";
    let expected = Number.POSITIVE_INFINITY;
    let received = 0;
    const onData = (chunk: Buffer): void => {
      received += chunk.length;
      if (expected === Number.POSITIVE_INFINITY) {
        head += chunk.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
        if (end === -1) return;
        if (!head.startsWith("HTTP/1.1 200") || length === undefined) return void reject(new Error(head.slice(0, 500)));
        expected = end + 4 + Number(length);
      }
      if (received < expected) return;
      socket.off("data", onData);
      resolve(head.slice(0, 1000));
    };
    socket.on("data", onData);
    socket.write(`GET /${path} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  });

interface Cost {
  /** Of one body, `ms` */
  readonly wall: number;
  /** Of the sidecar for one body, `ms` */
  readonly cpu: number;
}

const measure = async (subject: RunningSubject, socket: TLSSocket, name: string): Promise<Cost> => {
  const cpu = readCpuMicroseconds(subject.pid);
  const began = performance.now();
  for (let i = 0; i < batch; i++) await download(socket, name);
  return {
    wall: (performance.now() - began) / batch,
    cpu: (readCpuMicroseconds(subject.pid) - cpu) / 1000 / batch,
  };
};

const benchSidecar = async (): Promise<void> => {
  const bench = await createWorkbench([]);
  try {
    if (bench.launcher.pinned) spawnSync("taskset", ["-cp", String(OTHER_CORE), String(process.pid)]);
    const prepared = { ...bench, upstreamPort: await startUpstream(bench) };
    const scrubbing = await sidekey.start(prepared);
    const plain = await sidekey.start({ ...prepared, nodeArguments: [UNSCRUBBED] });
    const subjects = await Promise.all(
      [plain, scrubbing].map(async (subject) => ({ subject, socket: await openTunnel(subject) })),
    );
    const echoes = await Promise.all(subjects.map(({ socket }) => download(socket, "echo")));
    const shows = echoes.map((echo) => echo.includes(bench.secret));
    if (shows.join() !== "true,false") throw new Error(`the secret shows: ${shows.join()}`);
    for (const { subject, socket } of subjects) {
      for (const name of Object.keys(CLEAN)) await measure(subject, socket, name);
    }

    console.log(`clean bodies of 10 MB through the sidecar, medians of ${rounds} rounds of ${batch} bodies`);
    console.log("            unscrubbed          scrubbed            scrubbed against unscrubbed");
    for (const name of Object.keys(CLEAN)) {
      const costs: Cost[][] = subjects.map(() => []);
      for (let round = 0; round < rounds; round++) {
        for (const [i, { subject, socket }] of subjects.entries()) costs[i]?.push(await measure(subject, socket, name));
      }
      const [before, after] = costs.map((all) => ({
        wall: median(all.map(({ wall }) => wall)),
        cpu: median(all.map(({ cpu }) => cpu)),
      }));
      if (before === undefined || after === undefined) continue;
      const cell = ({ wall, cpu }: Cost): string =>
        `${(BODY_BYTES / 1000 / wall).toFixed(0).padStart(4)} MB/s ${cpu.toFixed(1).padStart(5)} ms`;
      console.log(
        `  ${name.padEnd(8)}  ${cell(before)}  ${cell(after)}  speed ${(before.wall / after.wall).toFixed(2)}, ` +
          `speed by CPU time ${(before.cpu / after.cpu).toFixed(2)}`,
      );
    }
    for (const { socket } of subjects) socket.destroy();
    await Promise.all([scrubbing.close(), plain.close()]);
  } finally {
    await bench.close();
  }
};

// ---- The matcher alone

const letters = (length: number): string => randomBytes(length).toString("base64url").slice(0, length);
/** Quotes, ampersands, percent signs and an accent: each has some 45 spellings or more. */
const HEAVY = Array.from({ length: 50 }, () => Buffer.from(`p@"s\\s'<&>%+ /é${letters(20)}`));
const KEYS = Array.from({ length: 50 }, () => Buffer.from(`sk-proj-${letters(40)}`));
const SHORT = Array.from({ length: 50 }, () => Buffer.from(letters(8)));

/** Texts made to cost as much as possible: what agents know of keys, and all that they could have repeated. */
const nearMatches = (secrets: readonly Buffer[]): Readonly<Record<string, Buffer>> => {
  const forms = secrets.flatMap((secret) => formsOf(secret));
  const shortest = Math.min(...forms.map(({ length }) => length));
  const repeat = (parts: readonly Buffer[]): Buffer => filled(BODY_BYTES, Buffer.concat(parts));
  return {
    "a vendor's prefix": repeat([Buffer.from("sk-proj-")]),
    zeros: repeat([Buffer.from("0")]),
    "JSON escapes": repeat([Buffer.from("\\u0073\\u006b\\u002d")]),
    "HTML references": repeat([Buffer.from("&#115;&#107;&#45;")]),
    "forms without their last byte": repeat(forms.map((form) => form.subarray(0, -1))),
    "forms without their first byte": repeat(forms.map((form) => form.subarray(1))),
    "beginnings of forms": repeat(forms.map((form) => form.subarray(0, shortest))),
  };
};

/** The best of `rounds`, in pieces as they come from a socket, by CPU time, so that others' work does not count. `MB/s` */
const rateOf = (run: (piece: Buffer) => void, text: Buffer, piece = 64 * 1024): number => {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < Math.max(3, rounds); round++) {
    const began = process.cpuUsage();
    for (let at = 0; at < text.length; at += piece) run(text.subarray(at, at + piece));
    const { user, system } = process.cpuUsage(began);
    best = Math.min(best, (user + system) / 1000);
  }
  return text.length / 1000 / best;
};

const benchMatcher = (): void => {
  for (const [what, secrets] of Object.entries({
    "heavy secrets": HEAVY,
    "vendor keys": KEYS,
    "secrets of 8": SHORT,
  })) {
    const redaction = createRedaction(secrets);
    const count = new Set(secrets.flatMap((secret) => formsOf(secret).map((form) => form.toString("latin1")))).size;
    console.log(`matcher, 50 ${what}: ${count} forms of ${redaction.shortest} to ${redaction.longest} bytes`);
    const run = (piece: Buffer): void => redaction.find(piece, 0, piece.length, () => undefined);
    for (const [kind, texts] of Object.entries({ clean: CLEAN, near: nearMatches(secrets) })) {
      for (const [name, text] of Object.entries(texts)) {
        console.log(`  ${kind.padEnd(6)} ${name.padEnd(32)} ${rateOf(run, text).toFixed(0).padStart(6)} MB/s`);
      }
    }
  }
  const one = createRedaction(HEAVY.slice(0, 1));
  for (const piece of [7, 200, 16 * 1024, 64 * 1024]) {
    const scrubber = createScrubber(one);
    const text = (CLEAN["json"] ?? Buffer.alloc(0)).subarray(0, Math.min(BODY_BYTES, piece * 20_000));
    const rate = rateOf((bytes) => scrubber.push(bytes, () => undefined), text, piece);
    console.log(`scrubber, 1 heavy secret, json in chunks of ${piece}: ${rate.toFixed(0)} MB/s`);
  }
};

if (values.only.includes("sidecar")) await benchSidecar();
if (values.only.includes("matcher")) benchMatcher();
