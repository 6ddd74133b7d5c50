/**
 * Loads a CommonJS file of the build together with what V8 made of it when it was built (config/warm.mjs), so that it is
 * not compiled again: that is half of what starting costs. Where that is absent, damaged, of another Node or of other
 * code, the file is compiled as ever. It lies beside the code, and who could change it could change the code.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Script } from "node:vm";
import { crc32 } from "node:zlib";

/** What the file exports. `filename`: absolute. Files of the build that it asks for are loaded in the same way. */
export const loadBuiltFile = (filename: string): unknown => {
  const directory = dirname(filename);
  const loaded = new Map<string, unknown>();
  const ordinary = createRequire(filename);
  const load = (path: string): unknown => {
    const known = loaded.get(path);
    if (known !== undefined) return known;
    const source = readFileSync(path);
    const cachedData = readCache(path, source);
    const script = new Script(source.toString("utf8"), {
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

/**
 * Undefined unless it is whole, and made here of this very code. V8 looks at its own version and at the length of the code
 * alone: damaged bytes end the process with a signal, and code that was mended by as many letters would go on unmended.
 */
const readCache = (path: string, source: Buffer): Buffer | undefined => {
  try {
    const found = readFileSync(`${path}.cache`);
    const data = found.subarray(SUM_BYTES);
    const made = crc32(source, crc32(`${process.version} ${process.platform} ${process.arch}`));
    return found.readUInt32BE(0) === crc32(data, made) ? data : undefined;
  } catch {
    return undefined;
  }
};

/** In front of what V8 made: a CRC, a guard against accidents and not against attackers. `bytes` */
const SUM_BYTES = 4;
