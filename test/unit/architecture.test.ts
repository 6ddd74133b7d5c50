/** The rules of the house (architecture.md, "Who may import whom"), checked on the text of every file in src. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../../src");

interface Source {
  /** From src, with `/`. */
  readonly path: string;
  readonly text: string;
  /** Paths from src. */
  readonly imports: readonly string[];
  /** Names of third-party packages. */
  readonly packages: readonly string[];
}

const IMPORT =
  /^(?:import|export)\b[^"';=]*?\bfrom\s*"([^"]+)"|^import\s*"([^"]+)"|\b(?:import|require)\(\s*"([^"]+)"/gm;

const withoutComments = (text: string): string =>
  text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");

const sources: readonly Source[] = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((path) => /\.c?ts$/.test(path))
  .map((path) => {
    const text = withoutComments(readFileSync(join(root, path), "utf8"));
    const specifiers = [...text.matchAll(IMPORT)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
    return {
      path,
      text,
      imports: specifiers.filter((to) => to.startsWith(".")).map((to) => relative(root, join(root, dirname(path), to))),
      packages: specifiers
        .filter((to) => !to.startsWith(".") && !to.startsWith("node:"))
        .map((to) =>
          to
            .split("/")
            .slice(0, to.startsWith("@") ? 2 : 1)
            .join("/"),
        ),
    };
  });

const violations = (judge: (source: Source) => readonly string[]): string[] =>
  sources.flatMap((source) => judge(source).map((what) => `${source.path}: ${what}`));

/** Wings and common ground: what each top folder may import beside itself. */
const GROUND: Readonly<Record<string, readonly string[]>> = {
  core: [],
  config: ["core"],
  identity: ["core", "config"],
  audit: ["core", "config"],
  sidecar: ["core", "config", "identity", "audit"],
  vault: ["core", "config", "identity", "audit"],
  client: ["core"],
  cli: ["core", "config", "identity", "audit", "sidecar", "vault", "client"],
};

/** The two named doors between the wings. */
const DOORS: ReadonlySet<string> = new Set([
  "sidecar/secrets/kinds/local.ts -> vault/index.ts",
  "sidecar/secrets/kinds/sidekey.ts -> client/index.ts",
]);

/** Rank of each folder of the sidecar: imports go to lower ranks or stay in the folder. */
const RANKS: Readonly<Record<string, number>> = {
  scrub: 0,
  signing: 0,
  policy: 0,
  tls: 0,
  net: 1,
  secrets: 2,
  injection: 2,
  upstream: 3,
  pipeline: 4,
  ingress: 5,
  admin: 5,
  app: 6,
};

/** Third-party packages and the only files that may import them (zod apart). */
const PACKAGE_DOORS: Readonly<Record<string, readonly string[]>> = {
  fastify: ["vault/server/app.ts"],
  "@fastify/swagger": ["vault/server/openapi.ts"],
  "fastify-type-provider-zod": ["vault/server/app.ts"],
  undici: ["cli/run/preload.cts"],
  jose: ["identity/token.ts", "identity/sidecar-key.ts", "identity/dpop.ts"],
  "@opentelemetry/api": ["sidecar/app/tracing.ts"],
  "prom-client": ["sidecar/admin/metrics.ts"],
  "lru-cache": [
    "sidecar/secrets/resolver.ts",
    "vault/tokens/tokens.ts",
    "vault/server/callers/auth.ts",
    "vault/server/callers/budget.ts",
  ],
  yaml: ["config/document.ts"],
  pino: ["core/process-log.ts"],
  lmdb: ["vault/storage/lmdb.ts"],
  pg: ["vault/storage/postgres/connection.ts"],
  commander: ["cli/program.ts"],
  dotenv: ["config/env-file.ts"],
  "@peculiar/x509": ["sidecar/tls/certificate-authority.ts"],
  "reflect-metadata": ["sidecar/tls/certificate-authority.ts"],
};

describe("the house", () => {
  it("has files to check", () => {
    expect(sources.length).toBeGreaterThan(50);
    expect(sources.flatMap(({ imports }) => imports).length).toBeGreaterThan(200);
  });

  it("keeps the two wings apart and the command line on top", () => {
    expect(
      violations(({ path, imports }) => {
        const [from = ""] = path.split("/");
        const allowed = GROUND[from];
        // main.ts and index.ts stand above everything.
        if (allowed === undefined) return [];
        return imports
          .filter((to) => !DOORS.has(`${path} -> ${to}`))
          .filter((to) => to.split("/")[0] !== from && !allowed.includes(to.split("/")[0] ?? ""));
      }),
    ).toEqual([]);
  });

  it("imports downwards only inside the sidecar", () => {
    expect(
      violations(({ path, imports }) => {
        const [wing, from = ""] = path.split("/");
        if (wing !== "sidecar") return [];
        return imports.filter((to) => {
          const [toWing, folder = ""] = to.split("/");
          if (toWing !== "sidecar" || folder === from) return false;
          return (RANKS[folder] ?? Number.POSITIVE_INFINITY) >= (RANKS[from] ?? Number.NEGATIVE_INFINITY);
        });
      }),
    ).toEqual([]);
  });

  it("has every folder of the sidecar in its ranks", () => {
    const folders = new Set(
      sources.filter(({ path }) => path.startsWith("sidecar/")).map(({ path }) => path.split("/")[1]),
    );
    expect([...folders].filter((folder) => RANKS[folder ?? ""] === undefined)).toEqual([]);
  });

  it("reaches kinds and commands through their index, and never from a sibling", () => {
    expect(
      violations(({ path, imports }) =>
        imports.filter((to) => {
          const folder = /^(.*\/)?(?:kinds|commands)\//.exec(to)?.[0];
          if (folder === undefined || to === `${folder}index.ts`) return false;
          return path !== `${folder}index.ts`;
        }),
      ),
    ).toEqual([]);
  });

  it("keeps stages and layers from importing each other", () => {
    expect(
      violations(({ path, imports }) => {
        const folder = /^.*\/(?:stages|layers)\//.exec(path)?.[0];
        return folder === undefined ? [] : imports.filter((to) => to.startsWith(folder));
      }),
    ).toEqual([]);
  });

  it("has one door for each third-party package", () => {
    expect(
      violations(({ path, packages }) =>
        packages.filter((name) => name !== "zod" && !(PACKAGE_DOORS[name] ?? []).includes(path)),
      ),
    ).toEqual([]);
  });

  it("reads process.env only in the command line, the app and the env source", () => {
    expect(
      violations(({ path, text }) =>
        /process\.env\b/.test(text) && !/^(?:cli\/|sidecar\/app\/|sidecar\/secrets\/kinds\/env\.ts|main\.ts)/.test(path)
          ? ["process.env"]
          : [],
      ),
    ).toEqual([]);
  });

  it("loads one package for any command, and the others when a command wants them", () => {
    const byPath = new Map(sources.map((source) => [source.path, source]));
    const trails = new Map<string, string>();
    const visit = (path: string, trail: string): void => {
      if (trails.has(path)) return;
      trails.set(path, trail);
      const { text = "" } = byPath.get(path) ?? {};
      // Types alone load nothing.
      for (const [, to = ""] of text.matchAll(/^(?:import|export)\b(?! type\b)[^"';=]*?\bfrom\s*"([^"]+)"/gm)) {
        if (to.startsWith(".")) visit(relative(root, join(root, dirname(path), to)), `${trail} > ${to}`);
        else if (!to.startsWith("node:")) trails.set(to, trail);
      }
    };
    visit("cli/main.ts", "cli/main.ts");
    const loaded = [...trails].filter(([name]) => !byPath.has(name));
    expect(loaded.filter(([name]) => name !== "commander")).toEqual([]);
    expect(loaded).toHaveLength(1);
  });

  it("asks where a module lies in one place, because in the bundle it lies elsewhere", () => {
    const askers = sources
      .filter(({ text }) => /\bimport\.meta\b|\b__dirname\b/.test(text))
      .map(({ path }) => path)
      .sort();
    // The program begins where its file lies.
    expect(askers).toEqual(["core/package.ts", "main.ts"]);
  });

  it("imports zod as a namespace, so that the bundle leaves out what nobody uses of it", () => {
    expect(
      violations(({ text }) => (/^import \{[^}]*\bz\b[^}]*\} from "zod"/m.test(text) ? ["import * as z"] : [])),
    ).toEqual([]);
  });

  it("prints only from the command line", () => {
    expect(
      violations(({ path, text }) => (/\bconsole\./.test(text) && !path.startsWith("cli/") ? ["console"] : [])),
    ).toEqual([]);
  });

  it("makes each message of the line in its own stage and nowhere else", () => {
    const makers: Readonly<Record<string, string>> = {
      Identified: "identify",
      Routed: "route",
      Resolved: "resolve",
      Injected: "inject",
      Recorded: "record",
    };
    for (const [type, stage] of Object.entries(makers)) {
      const casts = sources.filter(({ text }) => new RegExp(`\\bas ${type}\\b`).test(text)).map(({ path }) => path);
      expect(casts, type).toEqual([`sidecar/pipeline/stages/${stage}.ts`]);
    }
  });

  it("has no import cycles", () => {
    const byPath = new Map(sources.map((source) => [source.path, source]));
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path)) throw new Error(`cycle: ${[...trail.slice(trail.indexOf(path)), path].join(" -> ")}`);
      if (done.has(path)) return;
      for (const to of byPath.get(path)?.imports ?? []) visit(to, [...trail, path]);
      done.add(path);
    };
    for (const { path } of sources) visit(path, []);
    expect(done.size).toBe(sources.length);
  });

  it("has no file over 400 lines, no default export and no `any`", () => {
    expect(
      violations(({ text }) => [
        ...(text.split("\n").length > 400 ? ["over 400 lines"] : []),
        ...(/^export default\b/m.test(text) ? ["default export"] : []),
        ...(/:\s*any\b|\bas any\b|<any>/.test(text) ? ["any"] : []),
      ]),
    ).toEqual([]);
  });
});
