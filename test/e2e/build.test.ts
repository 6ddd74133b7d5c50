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
    const chunks = readdirSync(join(DIST, "chunks")).filter((name) => name.endsWith(".js"));
    const inside = packagesIn(new Set(chunks.map((name) => `chunks/${name}`)));
    expect(inside.length).toBeGreaterThan(20);
    for (const name of inside) {
      const notice = notices.find((text) => text.startsWith(`${name} `));
      expect(notice, name).toMatch(/copyright|licen[cs]e|permission/i);
      expect(notice?.length, name).toBeGreaterThan(300);
    }
  });

  it("keeps what few runs need in files of their own", () => {
    expect(packagesIn(filesBehind("main.js", ANY_IMPORT))).toEqual(["commander"]);
    const [lifecycle = ""] = readdirSync(join(DIST, "chunks")).filter((name) => /^lifecycle-.*\.js$/.test(name));
    const ofStart = packagesIn(filesBehind(`chunks/${lifecycle}`, STATIC_IMPORT));
    for (const name of ["@peculiar/x509", "jose", "prom-client", "reflect-metadata"]) {
      expect(ofStart).not.toContain(name);
    }
    expect(ofStart).toContain("lru-cache");
    // Outside the bundle, and asked for in one place alone.
    expect(outsidersIn(filesBehind(`chunks/${lifecycle}`, STATIC_IMPORT))).toEqual([]);
  });
});

/** As esbuild marks where the text of a file begins. */
const PACKAGE = /^\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)\//gm;
const STATIC_IMPORT = /^(?:\} from|import) "\.\/([^"]+)";$/gm;
/** What the program loads first it asks for at once. */
const ANY_IMPORT = /"\.\/chunks\/([^"]+)"/g;

/** A file of the build and the chunks it imports, and what those import statically. */
const filesBehind = (entry: string, pattern: RegExp): ReadonlySet<string> => {
  const seen = new Set<string>([entry]);
  const visit = (file: string, imports: RegExp): void => {
    for (const [, name = ""] of readFileSync(join(DIST, file), "utf8").matchAll(imports)) {
      const next = `chunks/${name}`;
      if (seen.has(next)) continue;
      seen.add(next);
      visit(next, STATIC_IMPORT);
    }
  };
  visit(entry, pattern);
  return seen;
};

/** Packages beside the bundle that these files import statically. */
const outsidersIn = (files: ReadonlySet<string>): readonly string[] =>
  [...files].flatMap((file) =>
    [...readFileSync(join(DIST, file), "utf8").matchAll(/^(?:import|\}).* from "((?!node:)[^."][^"]*)";$/gm)].map(
      ([, name = ""]) => name,
    ),
  );

const packagesIn = (files: ReadonlySet<string>): readonly string[] => {
  const texts = [...files].map((file) => readFileSync(join(DIST, file), "utf8"));
  return [...new Set(texts.flatMap((text) => [...text.matchAll(PACKAGE)].map(([, name = ""]) => name)))].sort();
};
