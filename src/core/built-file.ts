/**
 * Loads a CommonJS file of the build together with what V8 made of it when it was built (config/warm.mjs), so that it is
 * not compiled again: that is half of what starting costs. Where that is absent or of another Node, V8 refuses it and the
 * file is compiled as ever. It lies beside the code, and who could change it could change the code.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Script } from "node:vm";

/** What the file exports. `filename`: absolute. Files of the build that it asks for are loaded in the same way. */
export const loadBuiltFile = (filename: string): unknown => {
  const directory = dirname(filename);
  const loaded = new Map<string, unknown>();
  const ordinary = createRequire(filename);
  const load = (path: string): unknown => {
    const known = loaded.get(path);
    if (known !== undefined) return known;
    const cachedData = readIfThere(`${path}.cache`);
    const script = new Script(readFileSync(path, "utf8"), {
      filename: path,
      ...(cachedData !== undefined && { cachedData }),
    });
    const module = { exports: {} };
    const run = script.runInThisContext() as Wrapped;
    run(module.exports, require, module, path, directory);
    loaded.set(path, module.exports);
    return module.exports;
  };
  const require = (name: string): unknown => (name.startsWith("./") ? load(join(directory, name)) : ordinary(name));
  return load(filename);
};

/** What such a file is: one expression. */
type Wrapped = (
  exports: object,
  require: (name: string) => unknown,
  module: { exports: unknown },
  filename: string,
  directory: string,
) => void;

const readIfThere = (path: string): Buffer | undefined => {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
};
