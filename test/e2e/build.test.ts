/** What `npm run build` makes: a program, a library, and the terms of what is inside. */
import { spawnSync } from "node:child_process";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Script } from "node:vm";
import { describe, expect, it } from "vitest";
import { readVersion } from "../../src/core/version.ts";
import { sidekey } from "../support/program.ts";
import { createWorkspace } from "../support/workspace.ts";

const DIST = new URL("../../dist", import.meta.url).pathname;

describe("the build", () => {
  it("is a program that knows its version, from wherever it is called", async () => {
    const { code, stdout } = await sidekey(["--version"], { cwd: "/" });
    expect([code, stdout.trim()]).toEqual([0, readVersion()]);
  });

  it("is a library with types", async () => {
    const library = (await import(join(DIST, "index.js"))) as Record<string, unknown>;
    const client = (await import(join(DIST, "client/index.js"))) as Record<string, unknown>;
    expect(Object.keys(client)).toContain("AgentVault");
    // Who imports both has one class of each error.
    for (const [name, value] of Object.entries(client)) expect(library[name], name).toBe(value);
    expect(
      Object.keys(library)
        .filter((name) => !(name in client) || name === "SidekeyError")
        .sort(),
    ).toEqual([
      "ERROR_TABLE",
      "SidekeyError",
      "createLog",
      "isSidekeyError",
      "loadConfig",
      "readConfig",
      "silentLog",
      "startSidecar",
    ]);
    expect(readFileSync(join(DIST, "index.d.ts"), "utf8")).toContain("startSidecar");
    expect(readFileSync(join(DIST, "client/index.d.ts"), "utf8")).toContain("AgentVault");
  });

  it("has a client of the vault alone, which loads nothing of the sidecar", () => {
    const loaded = new Set<string>();
    const visit = (file: string): void => {
      if (loaded.has(file)) return;
      loaded.add(file);
      for (const [, to = ""] of readFileSync(file, "utf8").matchAll(/^(?:import|export|\})[^;"]*"(\.[^"]+)";$/gm)) {
        visit(join(dirname(file), to));
      }
    };
    visit(join(DIST, "client/index.js"));
    const inside = [...loaded].flatMap((file) => [
      ...readFileSync(file, "utf8").matchAll(/^\/\/ (src\/(?:[\w-]+)|node_modules\/(?:@[^/]+\/)?[^/]+)\//gm),
    ]);
    const folders = new Set(inside.map(([, name = ""]) => name));
    expect([...folders].sort()).toEqual(["node_modules/zod", "src/client", "src/core"]);
  });

  it("has the licence of every package that is inside", () => {
    const notices = readFileSync(join(DIST, "THIRD-PARTY-LICENSES.txt"), "utf8").split(/\n-{80}\n\n/);
    // As esbuild marks where the text of a file begins; the program holds the same, without such marks.
    const library = ["index.js", ...readdirSync(join(DIST, "chunks")).map((name) => `chunks/${name}`)]
      .filter((name) => name.endsWith(".js"))
      .map((name) => readFileSync(join(DIST, name), "utf8"));
    const marks = library.flatMap((text) => [...text.matchAll(/^\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)\//gm)]);
    const inside = new Set([...marks.map(([, name = ""]) => name), "commander"]);
    expect(inside.size).toBeGreaterThan(20);
    // With no such file in their own packages.
    for (const name of ["abstract-logging", "pg-types", "pgpass"]) inside.add(name);
    for (const name of inside) {
      const notice = notices.find((text) => text.startsWith(`${name} `));
      expect(notice, name).toMatch(/copyright|licen[cs]e|permission/i);
      expect(notice?.length, name).toBeGreaterThan(300);
    }
  });

  it("keeps what few runs need in files of their own", () => {
    const program = readFileSync(join(DIST, "program.cjs"), "utf8");
    for (const [file, word] of [
      ["x509.cjs", "tsyringe requires a reflect polyfill"],
      ["prom-client.cjs", "nodejs_eventloop_lag_p99_seconds"],
    ] as const) {
      expect(readFileSync(join(DIST, file), "utf8")).toContain(word);
      expect(program).not.toContain(word);
      expect(program).toContain(`require("./${file}")`);
    }
  });

  it("holds what V8 made of it on this Node, and nothing of the run that it was made in", () => {
    for (const file of ["program.cjs", "x509.cjs", "prom-client.cjs"]) {
      // Behind a checksum of ours.
      const cachedData = readFileSync(join(DIST, `${file}.cache`)).subarray(4);
      const script = new Script(readFileSync(join(DIST, file), "utf8"), { cachedData });
      expect(script.cachedDataRejected, file).toBe(false);
      expect(cachedData.includes("no-secret-of-anybody"), file).toBe(false);
      expect(cachedData.includes(Buffer.from("no-secret-of-anybody", "utf16le")), file).toBe(false);
    }
  });

  it.each([
    ["absent", undefined],
    ["empty", Buffer.alloc(0)],
    ["cut short", readFileSync(join(DIST, "program.cjs.cache")).subarray(0, 1000)],
    ["of another kind", Buffer.from("{}")],
    [
      "damaged",
      readFileSync(join(DIST, "program.cjs.cache")).map((byte, at) => (at % 4096 > 3900 ? byte ^ 0x5a : byte)),
    ],
  ])("starts where what V8 made is %s", async (_name, cache) => {
    const work = createWorkspace();
    try {
      for (const file of ["main.js", "program.cjs"]) copyFileSync(join(DIST, file), work.at(file));
      work.write("package.json", '{"type":"module","version":"9.9.9"}');
      if (cache !== undefined) writeFileSync(work.at("program.cjs.cache"), cache);
      const { status, stdout } = spawnSync(process.execPath, [work.at("main.js"), "--version"], { encoding: "utf8" });
      expect([status, stdout]).toEqual([0, "9.9.9\n"]);
    } finally {
      work.remove();
    }
  });

  it("runs the code that is there, not what V8 made of other code of the same length", () => {
    const work = createWorkspace();
    try {
      for (const file of ["main.js", "program.cjs", "program.cjs.cache"]) copyFileSync(join(DIST, file), work.at(file));
      work.write("package.json", '{"type":"module","version":"9.9.9"}');
      const built = readFileSync(work.at("program.cjs"), "utf8");
      const mended = built.replace("between one AI", "BETWEEN ONE AI");
      expect(mended).not.toBe(built);
      writeFileSync(work.at("program.cjs"), mended);
      const { status, stdout } = spawnSync(process.execPath, [work.at("main.js"), "--help"], { encoding: "utf8" });
      expect(status).toBe(0);
      expect(stdout).toContain("BETWEEN ONE AI");
    } finally {
      work.remove();
    }
  });
});
