/**
 * The terms of the packages whose code or types are inside a build, in one file: most of them ask for their text and the
 * names of their authors in every copy. A package that says nothing ends the build.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** `files`: paths in the tree that went into the build, relative to `root`. Returns: the text of the file. Errors: Error. */
export const licencesOf = (root, files) => {
  const packages = new Set(files.flatMap((file) => packageDirectory(file) ?? []));
  const notices = [...packages].sort().map((directory) => noticeOf(join(root, directory)));
  return notices.join(`\n${"-".repeat(80)}\n\n`);
};

/** `node_modules/a/node_modules/@b/c/lib/x.js` is of `node_modules/a/node_modules/@b/c`. */
const packageDirectory = (file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file)?.[0];

const noticeOf = (directory) => {
  const { name, version, license, author } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  const entries = readdirSync(directory).sort();
  const read = (entry) => readFileSync(join(directory, entry), "utf8").trim();
  const texts = entries.filter((entry) => /^(?:licen[cs]e|copying)/i.test(entry)).map(read);
  if (texts.length === 0) {
    // Some have it in the readme alone; some name the licence, whose text is known.
    const readme = entries.find((entry) => /^readme/i.test(entry));
    const [, section = ""] =
      /^#+ *licen[cs]e\b[^\n]*\n([\s\S]*)/im.exec(readme === undefined ? "" : read(readme)) ?? [];
    if (/permission is hereby granted/i.test(section)) texts.push(section.trim());
    else if (license === "MIT") texts.push(mit(typeof author === "string" ? author : author?.name));
    else throw new Error(`${name} ${version} (${license}) has no text of its licence`);
  }
  // Apache-2.0 section 4 (d), and what others call the same.
  texts.push(...entries.filter((entry) => /^(?:notice|copyright)/i.test(entry)).map(read));
  return `${name} ${version} (${license})\n\n${texts.join("\n\n")}\n`;
};

/** https://spdx.org/licenses/MIT.html */
const mit = (author = "its authors") => `MIT License

Copyright (c) ${author}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;
