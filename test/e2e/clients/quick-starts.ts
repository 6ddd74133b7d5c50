/** docs/quick-starts.md, section by section: the files it shows are written, and its commands run as they stand. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MAIN } from "../../support/program.ts";

const ROOT = join(import.meta.dirname, "../../..");

interface Block {
  readonly language: string;
  readonly text: string;
}

export interface Section {
  readonly title: string;
  readonly blocks: readonly Block[];
}

/** Sections with code in them. */
export const quickStarts = (): readonly Section[] => {
  const text = readFileSync(join(ROOT, "docs/quick-starts.md"), "utf8");
  return text
    .split(/^## /m)
    .slice(1)
    .map((part) => ({
      title: part.split("\n", 1)[0] ?? "",
      blocks: [...part.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = "", body = ""]) => ({
        language,
        text: body,
      })),
    }))
    .filter(({ blocks }) => blocks.length > 0);
};

/** A directory with `sidekey` and `node` on the PATH of its `bin`, and this checkout's packages. */
export const makeDirectory = (directory: string): void => {
  mkdirSync(join(directory, "bin"), { recursive: true });
  symlinkSync(MAIN, join(directory, "bin/sidekey"));
  symlinkSync(process.execPath, join(directory, "bin/node"));
  symlinkSync(join(ROOT, "node_modules"), join(directory, "node_modules"));
};

/**
 * Writes the files of a section and returns its commands as one script. A file's first line names it; the YAML is
 * `sidekey.yaml`, with `more` at its end.
 */
export const lay = (directory: string, { title, blocks }: Section, more: string): string => {
  const commands: string[] = [];
  for (const { language, text } of blocks) {
    if (language === "sh") commands.push(text);
    else if (language === "yaml") writeFileSync(join(directory, "sidekey.yaml"), text + more, { mode: 0o644 });
    else {
      const [, name] = /^(?:#|\/\/) (\w+\.\w+)\n/.exec(text) ?? [];
      if (name === undefined) throw new TypeError(`a block of "${title}" does not name its file`);
      writeFileSync(join(directory, name), text);
    }
  }
  return commands.join("");
};
