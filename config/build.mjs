/**
 * `npm run build`: types by tsc, and the code in few files by esbuild, because finding, reading and compiling four hundred
 * small ones takes longer than everything else that `start` does. The program is CommonJS, which V8 can keep compiled
 * (warm.mjs); what only some runs need of other packages is a file beside it. One argument: the directory to write, default
 * `dist`.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "esbuild";
import { closeDeclarations } from "./declarations.mjs";
import { licencesOf } from "./licences.mjs";

const ROOT = resolve(import.meta.dirname, "..");
const out = resolve(process.argv[2] ?? join(ROOT, "dist"));

/** The packages that are installed beside us: native code, what only the agent's process loads, what the user may have. */
const INSTALLED = ["lmdb", "undici", "@opentelemetry/api"];
/** What pg looks for and does without. */
const ABSENT = ["pg-native", "pg-cloudflare"];

/** By file: packages that the program loads when it needs them. */
const ON_DEMAND = {
  "x509.cjs": ["reflect-metadata", "@peculiar/x509"],
  "prom-client.cjs": ["prom-client"],
  "pg.cjs": ["pg"],
  "fastify.cjs": ["fastify", "@fastify/swagger", "fastify-type-provider-zod"],
};

rmSync(out, { recursive: true, force: true });

const tsc = spawnSync(join(ROOT, "node_modules/.bin/tsc"), ["-p", join(ROOT, "src"), "--outDir", out], {
  stdio: "inherit",
});
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

const common = {
  absWorkingDir: ROOT,
  platform: "node",
  target: "node20.19",
  sourcemap: "linked",
  logLevel: "warning",
  bundle: true,
  metafile: true,
  external: [...INSTALLED, ...ABSENT],
  // Its other entry is CommonJS, whose names `import()` does not find.
  alias: { "@peculiar/x509": join(ROOT, "node_modules/@peculiar/x509/build/x509.es.js") },
};

const program = {
  ...common,
  format: "cjs",
  minifyWhitespace: true,
  lineLimit: 160,
  // No `import()` in what V8 keeps compiled.
  supported: { "dynamic-import": false },
  define: { "import.meta.dirname": "__dirname" },
  // As Node wraps such files itself: src/core/built-file.ts takes them as they are.
  banner: { js: "(function (exports, require, module, __filename, __dirname) {" },
  footer: { js: "})" },
};

const onDemand = {
  name: "on-demand",
  setup({ onResolve }) {
    for (const [file, packages] of Object.entries(ON_DEMAND)) {
      for (const name of packages) {
        onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: `./${file}`, external: true }));
      }
    }
  },
};

const results = await Promise.all([
  build({ ...program, entryPoints: ["src/cli/main.ts"], outfile: join(out, "program.cjs"), plugins: [onDemand] }),
  ...Object.entries(ON_DEMAND).map(([file, packages]) =>
    build({
      ...program,
      stdin: { contents: packages.map((name) => `export * from "${name}";`).join("\n"), resolveDir: ROOT },
      outfile: join(out, file),
    }),
  ),
  build({ ...common, entryPoints: ["src/main.ts"], outfile: join(out, "main.js"), format: "esm" }),
  build({
    ...common,
    // Side by side: what both have is the same class for whoever imports both.
    entryPoints: ["src/index.ts", "src/client/index.ts"],
    outdir: out,
    splitting: true,
    format: "esm",
    chunkNames: "chunks/[name]-[hash]",
    // Packages in CommonJS ask for Node's own modules this way.
    banner: {
      js: 'import { createRequire as createRequireOfBundle } from "node:module"; const require = createRequireOfBundle(import.meta.url);',
    },
  }),
  // Loaded with --require into the agent's process: a file of its own.
  build({
    ...common,
    entryPoints: ["src/cli/run/preload.cts"],
    outfile: join(out, "cli/run/preload.cjs"),
    format: "cjs",
  }),
]);

// The types last: esbuild writes into the same folders.
const declarations = closeDeclarations({ root: ROOT, out, entries: ["index.d.ts", "client/index.d.ts"] });
const inside = [...results.flatMap(({ metafile }) => Object.keys(metafile.inputs)), ...declarations];
writeFileSync(join(out, "THIRD-PARTY-LICENSES.txt"), licencesOf(ROOT, inside));

chmodSync(join(out, "main.js"), 0o755);

// Without it everything works, and starts slower.
const warm = spawnSync(process.execPath, [join(ROOT, "config/warm.mjs"), out], { stdio: "inherit", timeout: 180_000 });
if (warm.status !== 0)
  process.stderr.write("build: the program could not be started here, so V8 keeps nothing compiled\n");
