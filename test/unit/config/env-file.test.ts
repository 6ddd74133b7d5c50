import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_ENV_BYTES, readEnvFile } from "../../../src/config/env-file.ts";

const read = (text: string) => readEnvFile(Buffer.from(text));
const valuesOf = (text: string): Record<string, string> => {
  const { entries, problems } = read(text);
  expect(problems).toEqual([]);
  return Object.fromEntries(entries.map(({ name, value }) => [name, value]));
};
const reasonsOf = (text: string): string[] => read(text).problems.map(({ line, reason }) => `line ${line} ${reason}`);

describe("a .env file", () => {
  it.each([
    ["a value as it stands", "A=sk-1/2+3==", "sk-1/2+3=="],
    ["spaces around the name and the value", " A =  x y \t", "x y"],
    ["export", "export  A=x", "x"],
    ["a comment behind white space", "A=x # not 'this'", "x"],
    ["a comment behind nothing", "A= # nothing", ""],
    ["nothing", "A=", ""],
    ["nothing in quotes", "A=''", ""],
    ["single quotes, as they stand", "A='a \"b\" #c $D \\n'", 'a "b" #c $D \\n'],
    ["double quotes", "A=\"a 'b' #c $& $1\"", "a 'b' #c $& $1"],
    ["a comment behind quotes", "A='x' # 'y'", "x"],
    ["several lines in quotes", 'A="one\n two"\nB=3', "one\n two"],
    ["a quote in the middle", "A=it's", "it's"],
    ["JSON", 'A={"k":"v"}', '{"k":"v"}'],
    ["a dollar that nothing expands", "A=x$1$&$ y$", "x$1$&$ y$"],
    ["a backslash outside quotes", "A=a\\b", "a\\b"],
    ["text beyond ASCII", "A=péß", "péß"],
    ["a byte order mark", "\ufeffA=x", "x"],
    ["CRLF", "# c\r\nA=x\r\nB=y\r\n", "x"],
    ["lone CR", "A=x\rB=y", "x"],
    ["no line at its end", "\n\nA=x", "x"],
  ])("gives %s", (_, text, value) => {
    expect(valuesOf(text)["A"]).toBe(value);
  });

  it("tells of each value the line, and where it stands, quotes and all", () => {
    const text = "# first\nexport A='x' # c\n\nB=\"1\n2\"\r\nC= y \n";
    const { entries } = read(text);
    expect(entries.map(({ name, line }) => [name, line])).toEqual([
      ["A", 2],
      ["B", 4],
      ["C", 6],
    ]);
    expect(entries.map(({ start, end }) => text.slice(start, end))).toEqual(["'x'", '"1\n2"', "y"]);
  });

  it.each([
    ["no assignment", "sk-live-4711", "is not NAME=VALUE"],
    ["a name alone", "export A", "is not NAME=VALUE"],
    ["no name", "=x", "is not NAME=VALUE"],
    ["two words for a name", "A B=x", "is not NAME=VALUE"],
    ["YAML", "A: x", "is not NAME=VALUE"],
    ["a name that objects are made of", "__proto__=x", "cannot be read"],
    ["an open double quote", 'A="x\nB=y', "has no closing quote"],
    ["an open single quote", "A='x\\'", "has no closing quote"],
    ["text after the quote", 'A="x"y', "goes on after its closing quote"],
    ["a comment that touches the quote", "A='x'#y", "goes on after its closing quote"],
    ["# inside a bare value", "A=x#y", "has a # right behind"],
    ["# at once", "A=#x", "has a # right behind"],
    ["a variable", "A=x$(B)", "has a $ that some"],
    ["a variable in double quotes", 'A="$B"', "has a $ that some"],
    ["two dollars", "A=a$$b", "has a $ that some"],
    ["an escape in double quotes", 'A="a\\nb"', "has a backslash in double quotes"],
    ["an escaped quote", 'A="a\\"b"', "has a backslash in double quotes"],
    ["an escape in single quotes", "A='a\\\\b'", "has \\\\ or \\' in single quotes"],
    ["backticks", "A=`x`", "has a value in backticks"],
    ["a no-break space at the end", "A=x\u00a0", "has unusual white space"],
  ])("is not guessed at for %s", (_, text, reason) => {
    expect(reasonsOf(`B1=1\n${text}`)).toEqual([expect.stringContaining(`line 2 ${reason}`)]);
  });

  it("tells all problems at once, and never a part of a line", () => {
    const text = "A=canary#1\nB='canary\ncanary\nC=`canary`\n";
    const { problems } = read(text);
    expect(problems.map(({ line }) => line)).toEqual([1, 2, 3, 4]);
    expect(JSON.stringify(problems)).not.toContain("canary");
  });

  it("takes a name twice with one value, and not with two", () => {
    expect(read("A=x\nB=y\nA='x'").entries.map(({ name, line }) => [name, line])).toEqual([
      ["A", 1],
      ["B", 2],
    ]);
    expect(reasonsOf("A=x\nB=y\nA=z")).toEqual(["line 3 gives another value to what line 1 names already"]);
  });

  it.each([
    ["UTF-16", Buffer.from("\ufeffA=x", "utf16le"), "in UTF-16"],
    ["Latin-1", Buffer.from("A=é", "latin1"), "not UTF-8"],
    ["over 1 MiB", Buffer.alloc(MAX_ENV_BYTES + 1, "#"), "over 1 MiB"],
  ])("is refused in %s", (_, bytes, reason) => {
    const { entries, problems } = readEnvFile(bytes);
    expect(entries).toEqual([]);
    expect(problems).toEqual([{ line: 1, reason: expect.stringContaining(reason) }]);
  });

  // Anything quadratic takes minutes.
  it.each([
    ["newlines", "\n", 0, 0],
    ["spaces", " ", 0, 0],
    ["assignments", "A=x\n", 1, 0],
    ["open quotes", "A='x\n", 0, 100_000],
    ["escapes", "\\'", 0, 1],
  ])("of 1 MiB of %s is read in one pass", { timeout: 60_000 }, (_, part, names, least) => {
    const bytes = Buffer.from(part.repeat(Math.floor(MAX_ENV_BYTES / part.length)));
    const { entries, problems } = readEnvFile(bytes);
    expect(entries).toHaveLength(names);
    expect(problems.length).toBeGreaterThanOrEqual(least);
  });

  it("of a thousand names and more is none", () => {
    const text = Array.from({ length: 1001 }, (_, n) => `A${n}=x`).join("\n");
    expect(reasonsOf(text)).toEqual([expect.stringContaining("goes beyond 1000 names")]);
    expect(Object.keys(valuesOf(text.slice(0, text.lastIndexOf("\n"))))).toHaveLength(1000);
  });

  it("gives back in single quotes whatever can stand in them, and never a part of any text in a reason", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary-ascii", maxLength: 12 }), { maxLength: 4 }), (parts) => {
        const kept = parts.map((part) => part.replaceAll(/['\\\r]/g, "-"));
        const text = kept.map((part, n) => `N${n}='${part}'`).join("\n");
        expect(Object.values(valuesOf(text))).toEqual(kept);
      }),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."AB='\"\\#$ \n\r\t`{}"), maxLength: 24 }), (text) => {
        const { entries, problems } = read(text);
        // Either every line is understood or it says which is not.
        if (problems.length > 0) return;
        for (const { value, start, end } of entries) {
          const written = text.slice(start, end);
          expect([written, written.slice(1, -1)]).toContain(
            value.replaceAll("\n", written.includes("\r") ? "\r" : "\n"),
          );
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
