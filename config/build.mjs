/**
 * `npm run build`: types by tsc, and the program in few files by esbuild, because reading four hundred small ones takes
 * longer than everything else that `start` does. What only some runs need stays a file of its own, loaded when it is
 * asked for. One argument: the directory to write, default `dist`.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "esbuild";

const ROOT = resolve(import.meta.dirname, "..");
const out = resolve(process.argv[2] ?? join(ROOT, "dist"));

/** Native code, what only the agent's process loads, and what the user may have installed beside us. */
const EXTERNAL = ["lmdb", "undici", "@opentelemetry/api"];

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
};

const { metafile } = await build({
  ...common,
  entryPoints: { main: "src/main.ts", index: "src/index.ts" },
  outdir: out,
  bundle: true,
  splitting: true,
  format: "esm",
  chunkNames: "chunks/[name]-[hash]",
  external: EXTERNAL,
  // Its other entry is CommonJS, whose names `import()` does not find.
  alias: { "@peculiar/x509": join(ROOT, "node_modules/@peculiar/x509/build/x509.es.js") },
  // Packages in CommonJS ask for Node's own modules this way.
  banner: {
    js: 'import { createRequire as createRequireOfBundle } from "node:module"; const require = createRequireOfBundle(import.meta.url);',
  },
  metafile: true,
});

// Loaded with --require into the agent's process: a file of its own, and CommonJS.
await build({
  ...common,
  entryPoints: ["src/cli/run/preload.cts"],
  outfile: join(out, "cli/run/preload.cjs"),
  format: "cjs",
});

/** The licences of what is inside: their terms ask for it. */
const packages = new Set();
for (const input of Object.keys(metafile.inputs)) {
  const [, name] = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(input) ?? [];
  if (name !== undefined)
    packages.add(`${input.slice(0, input.lastIndexOf(`node_modules/${name}/`))}node_modules/${name}`);
}
const notices = [...packages].sort().map((directory) => {
  const { name, version, license } = JSON.parse(readFileSync(join(ROOT, directory, "package.json"), "utf8"));
  const file = readdirSync(join(ROOT, directory)).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file === undefined ? "" : readFileSync(join(ROOT, directory, file), "utf8").trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(join(out, "THIRD-PARTY-LICENSES.txt"), notices.join(`\n${"-".repeat(80)}\n\n`));

chmodSync(join(out, "main.js"), 0o755);
