/** What `npm run build` makes: a program, a library, and the terms of what is inside. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readVersion } from "../../src/core/version.ts";
import { sidekey } from "../support/program.ts";

const DIST = new URL("../../dist", import.meta.url).pathname;

describe("the build", () => {
  it("is a program that knows its version, from wherever it is called", async () => {
    const { code, stdout } = await sidekey(["--version"], { cwd: "/" });
    expect([code, stdout.trim()]).toEqual([0, readVersion()]);
  });

  it("is a library with types", async () => {
    const library = (await import(join(DIST, "index.js"))) as Record<string, unknown>;
    expect(Object.keys(library).sort()).toEqual([
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
  });

  it("has the licence of every package that is inside", () => {
    const notices = readFileSync(join(DIST, "THIRD-PARTY-LICENSES.txt"), "utf8").split(/\n-{80}\n\n/);
    const inside = new Set<string>();
    for (const file of readdirSync(join(DIST, "chunks")).filter((name) => name.endsWith(".map"))) {
      const { sources } = JSON.parse(readFileSync(join(DIST, "chunks", file), "utf8")) as { sources: string[] };
      for (const source of sources) {
        const [, name] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source) ?? [];
        if (name !== undefined) inside.add(name);
      }
    }
    expect(inside.size).toBeGreaterThan(5);
    for (const name of inside) {
      const notice = notices.find((text) => text.startsWith(`${name} `));
      expect(notice, name).toMatch(/copyright|licen[cs]e|permission/i);
      expect(notice?.length, name).toBeGreaterThan(300);
    }
  });

  it("keeps what few runs need in files of their own", () => {
    const loaded = chunksOfEveryRun().map((file) => readFileSync(join(DIST, "chunks", file), "utf8"));
    const packages = loaded.flatMap((text) => [...text.matchAll(PACKAGE)].map(([, name = ""]) => name));
    expect([...new Set(packages)].sort()).toEqual(["commander"]);
  });
});

/** As esbuild marks where the text of a file begins. */
const PACKAGE = /^\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)\//gm;

/** Loaded for any command: what the program imports, and what that imports statically. */
const chunksOfEveryRun = (): readonly string[] => {
  const seen = new Set<string>();
  const visit = (path: string, pattern: RegExp): void => {
    for (const [, name = ""] of readFileSync(path, "utf8").matchAll(pattern)) {
      if (seen.has(name)) continue;
      seen.add(name);
      visit(join(DIST, "chunks", name), /^(?:\} from|import) "\.\/([^"]+)";$/gm);
    }
  };
  visit(join(DIST, "main.js"), /"\.\/chunks\/([^"]+)"/g);
  return [...seen];
};
