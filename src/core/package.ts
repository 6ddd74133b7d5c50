/**
 * Where this package is installed. The only place that asks for a module's own location: in the bundle a module lies
 * where the bundle does, and what it reads beside itself would not be there.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** Absolute path of a file of the package; `parts` from its root on. */
export const packageFile = (...parts: readonly string[]): string => {
  let directory = import.meta.dirname;
  while (!existsSync(join(directory, "package.json"))) {
    const parent = dirname(directory);
    if (parent === directory) throw new TypeError(`no package.json above ${import.meta.dirname}`);
    directory = parent;
  }
  return join(directory, ...parts);
};
