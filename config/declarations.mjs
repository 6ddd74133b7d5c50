/**
 * What tsc declares, cut to what the package's entries lead to, with the declarations of bundled packages beside it: who
 * installs Sidekey has none of those packages, and their types would be missing. Node's own (`@types/node`) stay outside.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** `from "x"`, `import("x")`, `import "x"`. */
const SPECIFIER = /(\bfrom |\bimport\(|^import )"([^"]+)"/gm;

/**
 * Changes the declarations in `out`: those that no entry leads to are removed, those of packages come to `types/NAME`.
 * `entries`: relative to `out`. Returns: files of packages that were copied, relative to `root`. Errors: Error when
 * something that is named is nowhere.
 */
export const closeDeclarations = ({ root, out, entries }) => {
  const kept = new Set();
  const copied = new Set();

  const keep = (file) => {
    if (kept.has(file)) return;
    kept.add(file);
    const text = readFileSync(file, "utf8");
    const closed = text.replace(SPECIFIER, (whole, before, name) => {
      if (name.startsWith("node:")) return whole;
      if (name.startsWith(".")) {
        keep(declarationOf(file, name));
        return whole;
      }
      const path = relative(dirname(file), copy(packageDeclaration(root, name)));
      return `${before}"${path.startsWith(".") ? path : `./${path}`}"`;
    });
    if (closed !== text) writeFileSync(file, closed);
  };

  /** With all that it leads to; where it is now, as imports name it. */
  const copy = (file) => {
    const target = join(out, "types", relative(join(root, "node_modules"), file));
    if (!copied.has(file)) {
      copied.add(file);
      mkdirSync(dirname(target), { recursive: true });
      copyFileSync(file, target);
      for (const [, , name] of readFileSync(file, "utf8").matchAll(SPECIFIER)) {
        if (!name.startsWith(".")) throw new Error(`${file} asks for ${name}, which is not inside`);
        copy(declarationOf(file, name));
      }
    }
    return target.replace(/\.d\.ts$/, ".js");
  };

  for (const entry of entries) keep(join(out, entry));
  for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (/\.d\.c?ts$/.test(entry.name) && !kept.has(file) && !file.startsWith(join(out, "types/"))) rmSync(file);
  }
  removeEmpty(out);
  return [...copied].map((file) => relative(root, file));
};

/** Ours say `./x.ts`, others `./x.js`; both mean `x.d.ts`. */
const declarationOf = (file, name) => join(dirname(file), name.replace(/\.[jt]s$/, ".d.ts"));

/** As a package that is a module declares what `name` (`zod`, `zod/v4/core`) exports. */
const packageDeclaration = (root, name) => {
  const [, packageName, rest] = /^((?:@[^/]+\/)?[^/]+)(.*)$/.exec(name);
  const directory = join(root, "node_modules", packageName);
  const { exports } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  const code = exports?.[`.${rest}`]?.import;
  const file = typeof code === "string" ? join(directory, code.replace(/\.js$/, ".d.ts")) : "";
  if (!existsSync(file)) throw new Error(`no declarations of ${name}`);
  return file;
};

const removeEmpty = (directory) => {
  const entries = readdirSync(directory, { withFileTypes: true });
  for (const entry of entries) if (entry.isDirectory()) removeEmpty(join(directory, entry.name));
  if (entries.length > 0 && readdirSync(directory).length === 0) rmSync(directory, { recursive: true });
};
