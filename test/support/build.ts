/** Vitest globalSetup of the e2e project: the tests run `dist/`, so it must not be older than `src/`, nor of another Node. */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Script } from "node:vm";

const ROOT = new URL("../..", import.meta.url).pathname;
const DIST = join(ROOT, "dist");
const MAIN = join(DIST, "main.js");

const newest = (directory: string): number =>
  Math.max(
    0,
    ...readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs),
  );

/** V8's cache is of one version of V8, behind a checksum of four bytes. */
const isOfThisNode = (): boolean => {
  const program = join(DIST, "program.cjs");
  if (!existsSync(`${program}.cache`)) return false;
  const cachedData = readFileSync(`${program}.cache`).subarray(4);
  return new Script(readFileSync(program, "utf8"), { cachedData }).cachedDataRejected === false;
};

export const setup = async (): Promise<void> => {
  if (existsSync(MAIN) && newest(join(ROOT, "src")) < statSync(MAIN).mtimeMs && isOfThisNode()) return;
  // Built elsewhere on the same disk, where git and lint do not look, and moved into place, so that a program that runs from dist never sees half of it.
  const fresh = join(ROOT, "node_modules", ".cache", `dist-${process.pid}`);
  const old = `${fresh}.old`;
  try {
    await promisify(execFile)(process.execPath, [join(ROOT, "config/build.mjs"), fresh], { cwd: ROOT });
    if (existsSync(DIST)) renameSync(DIST, old);
    renameSync(fresh, DIST);
  } catch (error) {
    const output = error instanceof Error && "stdout" in error ? String(error.stdout) : "";
    throw new Error(`The build failed:\n${output}`, { cause: error });
  } finally {
    for (const left of [fresh, old]) rmSync(left, { recursive: true, force: true });
  }
};
