/**
 * Keeps what V8 compiles while the built program starts and serves one request, as `*.cache` beside its files
 * (src/core/built-file.ts). Only code is kept; the run has a directory and a secret of its own, and dials nothing but this
 * machine. Argument: the directory of the build. With `--run` it is the process that is watched.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import v8 from "node:v8";
import vm from "node:vm";
import { crc32 } from "node:zlib";

const [out = "", mode] = process.argv.slice(2);
const main = join(out, "main.js");

/** One route with TLS and one without: both ways are warm. Nothing listens on port 1. */
const FILE = `version: 1
listen: { proxy: "127.0.0.1:0" }
routes:
  tls: { match: "https://build.invalid/**", secret: build/warm/key }
  plain: { match: "http://127.0.0.1:1/**", secret: build/warm/key }
`;

const prepare = () => {
  const cwd = mkdtempSync(join(tmpdir(), "sidekey-build-"));
  // What the caller's shell says to Sidekey or to Node is not for this run.
  const options = { cwd, env: { PATH: process.env.PATH ?? "" }, timeout: 60_000, encoding: "utf8" };
  try {
    writeFileSync(join(cwd, "sidekey.yaml"), FILE, { mode: 0o600 });
    const stored = spawnSync(process.execPath, [main, "secret", "set", "build/warm/key"], {
      ...options,
      input: "no-secret-of-anybody",
    });
    if (stored.status !== 0) throw new Error(stored.stderr);
    const watched = spawnSync(process.execPath, [import.meta.filename, out, "--run"], options);
    if (watched.status !== 0) throw new Error(watched.stderr);
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
};

const watch = async () => {
  const scripts = [];
  vm.Script = class extends vm.Script {
    constructor(source, options) {
      super(source, options);
      scripts.push([options.filename, this]);
    }
  };
  // What V8 keeps is marked with the flags of the moment, and a program that starts has set none yet (src/cli/heap.ts).
  v8.setFlagsFromString = () => {};
  syncBuiltinESMExports();
  const write = process.stdout.write.bind(process.stdout);
  const ready = new Promise((resolve) => {
    process.stdout.write = (text, ...rest) => {
      const [, json] = /^sidekey ready (.*)$/m.exec(String(text)) ?? [];
      if (json !== undefined) resolve(JSON.parse(json));
      return write(text, ...rest);
    };
  });
  process.argv = [process.argv[0], main, "start", "--log-level", "error"];
  // It ends when the program does.
  import(main);
  const { proxy, admin } = await ready;
  const [host, port] = proxy.split(":");
  await ask({ host, port, path: "http://127.0.0.1:1/", headers: { host: "127.0.0.1:1" } });
  await ask({ socketPath: admin.replace("unix:", ""), path: "/metrics" });
  for (const [file, script] of scripts) {
    const data = script.createCachedData();
    // As src/core/built-file.ts reads it: whole, and of this code on this Node.
    const made = crc32(readFileSync(file), crc32(`${process.version} ${process.platform} ${process.arch}`));
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(data, made));
    writeFileSync(`${file}.cache`, Buffer.concat([sum, data]));
  }
  process.exit(0);
};

const ask = (options) =>
  new Promise((resolve, reject) => {
    request(options, (response) => response.resume().on("end", resolve))
      .on("error", reject)
      .end();
  });

if (mode === "--run") await watch();
else prepare();
