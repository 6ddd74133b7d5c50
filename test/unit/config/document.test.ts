import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseConfigDocument } from "../../../src/config/document.ts";

const messages = (text: string): string[] => parseConfigDocument(text).flaws.map(({ message }) => message);

describe("parseConfigDocument", () => {
  it("reads YAML 1.2 into maps without a prototype", () => {
    const { value, flaws, isBroken } = parseConfigDocument("a: 1\nb: [x, true, null, 1.5]\nc: { d: 'e' }\n");
    expect(flaws).toEqual([]);
    expect(isBroken).toBe(false);
    expect(JSON.stringify(value)).toBe('{"a":1,"b":["x",true,null,1.5],"c":{"d":"e"}}');
    expect(Object.getPrototypeOf(value)).toBeNull();
    expect(Object.getPrototypeOf((value as { c: object }).c)).toBeNull();
  });

  it("reads no, off, octal-looking and sexagesimal words as YAML 1.2 does", () => {
    const { value } = parseConfigDocument("a: no\nb: off\nc: 0777\nd: 12:30:45\ne: 1_000\nf: yes\n1: x\n");
    expect({ ...(value as object) }).toEqual({
      a: "no",
      b: "off",
      c: 777,
      d: "12:30:45",
      e: "1_000",
      f: "yes",
      "1": "x",
    });
  });

  it("knows where keys and list items stand, and the parent of what isn't there", () => {
    const { locate } = parseConfigDocument("# note\na:\n  b: [1, 2]\n  c:\n    - x\n    - { d: 1 }\n");
    expect(locate([])).toEqual({ line: 2, column: 1 });
    expect(locate(["a"])).toEqual({ line: 2, column: 1 });
    expect(locate(["a", "b"])).toEqual({ line: 3, column: 3 });
    expect(locate(["a", "b", 1])).toEqual({ line: 3, column: 10 });
    expect(locate(["a", "c", 1, "d"])).toEqual({ line: 6, column: 9 });
    expect(locate(["a", "missing", "deeper"])).toEqual({ line: 2, column: 1 });
    expect(locate(["a", "c", 7])).toEqual({ line: 4, column: 3 });
  });

  it("takes a byte order mark, CRLF, and the marks of one document", () => {
    const { value, flaws, locate } = parseConfigDocument("\ufeff---\r\na: 1\r\nb: 2\r\n...\r\n");
    expect(flaws).toEqual([]);
    expect({ ...(value as object) }).toEqual({ a: 1, b: 2 });
    expect(locate(["b"])).toEqual({ line: 3, column: 1 });
  });

  it("reports every refused construct at once, each with its place", () => {
    const text = "a: &x 1\nb: *x\nc: !!str 2\nd: !custom 3\n<<: { e: 1 }\na: 4\n__proto__: { f: 1 }\nconstructor: 5\n";
    const { flaws, isBroken } = parseConfigDocument(text);
    expect(isBroken).toBe(false);
    expect(flaws.map(({ message, position }) => [message, position.line, position.column])).toEqual([
      ["anchors are not used here", 1, 4],
      ["aliases are not used here", 2, 4],
      ["tags are not used here", 3, 4],
      ["tags are not used here", 4, 4],
      ["merge keys are not used here", 5, 1],
      ["this key is written twice", 6, 1],
      ["this name is not allowed as a key", 7, 1],
      ["this name is not allowed as a key", 8, 1],
    ]);
  });

  it("refuses directives, which could change what the words of the file mean", () => {
    expect(messages("%YAML 1.1\n---\na: no\n")).toContain("directives are not used here");
    expect(messages("%TAG ! tag:x,2000:\n---\na: 1\n")).toContain("directives are not used here");
  });

  it("does not take characters inside text for anchors, aliases or tags", () => {
    expect(messages("a: 'x & *y !z'\nb: x*y\nc: |\n  &a *b !c %d\nd: \"*\"\n")).toEqual([]);
  });

  it("refuses a second document", () => {
    expect(messages("a: 1\n---\nb: 2\n")).toEqual(["a second document begins here"]);
  });

  it("refuses keys that are not text", () => {
    expect(messages("{ [a]: 1 }")).not.toEqual([]);
    expect(messages("? { a: 1 }\n: 2\n")).not.toEqual([]);
    expect(messages('"": 1')).not.toEqual([]);
    expect(messages("? \n: 1\n")).not.toEqual([]);
  });

  it("refuses control characters, saying where", () => {
    const { flaws } = parseConfigDocument("a: 1\nb: x\u0000y\n");
    expect(flaws).toMatchObject([{ position: { line: 2, column: 5 } }]);
  });

  it("refuses a file over 1 MiB and one nested over 32 levels, quickly", () => {
    const before = performance.now();
    expect(messages(`a: ${"x".repeat(10 * 1024 * 1024)}`)).toEqual(["the file is larger than 1 MiB"]);
    for (const bomb of ["[", "{a: ", "- ", "? ", "[{a: "]) {
      expect(messages(bomb.repeat(20_000))).toEqual(["the file is nested more than 32 levels deep"]);
    }
    expect(performance.now() - before).toBeLessThan(5_000);
    const deepest = `${"[".repeat(32)}${"]".repeat(32)}`;
    expect(messages(deepest)).toEqual([]);
    expect(messages(`[${deepest}]`)).toEqual(["the file is nested more than 32 levels deep"]);
  });

  it("finds duplicates among many keys without comparing each pair", () => {
    const keys = Array.from({ length: 5_000 }, (_, index) => `k${index}: 1`);
    expect(messages([...keys, "k0: 2"].join("\n"))).toEqual(["this key is written twice"]);
  });

  it("never throws, whatever the text", () => {
    const piece = fc.constantFrom(
      "a",
      ":",
      " ",
      "\n",
      "-",
      "?",
      "[",
      "]",
      "{",
      "}",
      ",",
      "&",
      "*",
      "!",
      "|",
      ">",
      "'",
      '"',
      "%",
      "#",
      "\t",
      "---",
      "...",
      "<<",
      "__proto__",
      "\\",
      "~",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(piece, { maxLength: 40 }).map((parts) => parts.join("")),
          fc.string({ unit: "binary" }),
        ),
        (text) => {
          const { flaws, locate } = parseConfigDocument(text);
          expect(locate(["a", 0, "b"]).line).toBeGreaterThan(0);
          for (const { position } of flaws) {
            expect(position.line).toBeGreaterThan(0);
            expect(position.column).toBeGreaterThan(0);
          }
          expect(Object.hasOwn(Object.prototype, "a")).toBe(false);
        },
      ),
      { numRuns: 200 },
    );
  });
});
