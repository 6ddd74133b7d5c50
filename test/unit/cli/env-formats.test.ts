/** A value comes out of each form as it went in, read by what reads that form; or it is refused. */
import { spawnSync } from "node:child_process";
import { parse } from "dotenv";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type FormatName, formatOf } from "../../../src/cli/env-formats.ts";
import { splitOptions } from "../../../src/cli/guard.ts";
import { nodeOption } from "../../../src/cli/run/environment.ts";
import { parseConfigDocument } from "../../../src/config/document.ts";
import { readEnvFile } from "../../../src/config/env-file.ts";
import { isSidekeyError } from "../../../src/core/errors.ts";

const print = (format: FormatName, variables: Readonly<Record<string, string>>, option?: string): string =>
  formatOf[format].print({ variables, nodeOption: option });

/** What a POSIX shell has in these variables after it ran the text. */
const inShell = (text: string, names: readonly string[], own: Readonly<Record<string, string>> = {}): string[] => {
  const show = names.map((name) => `printf '%s\\0' "$${name}"`).join("\n");
  const { stdout, status, stderr } = spawnSync("sh", ["-eu"], { input: `${text}\n${show}\n`, env: own });
  expect({ status, stderr: String(stderr) }).toEqual({ status: 0, stderr: "" });
  return String(stdout).split("\0").slice(0, -1);
};

/** The ENV instruction of BuildKit: single quotes are literal and have no escapes; else only plain text is written. */
const inDockerfile = (text: string): Record<string, string> =>
  Object.fromEntries(
    text.split("\n").map((line) => {
      const [, name = "", quoted, plain] = /^ENV (\w+)=(?:'([^'\\]*)'|([\w./:@%+,=-]*))$/.exec(line) ?? [];
      expect(name, line).not.toBe("");
      return [name, quoted ?? plain ?? ""];
    }),
  );

/** Kubernetes: YAML, then `$(NAME)` is expanded, and `$$` is one `$`. */
const inKubernetes = (text: string): Record<string, string> => {
  const { value, flaws } = parseConfigDocument(text);
  expect(flaws).toEqual([]);
  const { env } = value as { env: readonly { name: string; value: string }[] };
  return Object.fromEntries(
    env.map((one) => [
      one.name,
      one.value.replaceAll(/\$\$|\$\(([^)]*)\)/g, (found) => (found === "$$" ? "$" : "expanded")),
    ]),
  );
};

const HOSTILE: readonly string[] = [
  "",
  "plain",
  "http://127.0.0.1:7070",
  "/path with spaces/ca.pem",
  "/home/o'brien/ca.pem",
  '/a"b/ca.pem',
  "/a\\b/ca.pem",
  "/$HOME/$(id)/`id`/ca.pem",
  "$(PATH) $$ $$$ $",
  "a#b #c",
  "!history! ~ * ? [a] {b,c}",
  "-n",
  "a=b=c",
  "trailing\\",
  "tab\there",
  "two\nlines",
  "carriage\rreturn",
  "ünïcödé/日本/🙂",
  " leading and trailing ",
  "%41%00",
  "\u0085 \u2028 \u2029",
  "'; rm -rf / #",
  "yes",
  "0x10",
  "{json: true}",
  "|",
];
const anyValue = fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: "binary" }), fc.string({ unit: "grapheme" }));

const refusalOf = (act: () => unknown): string | undefined => {
  try {
    act();
    return undefined;
  } catch (error) {
    if (isSidekeyError(error)) return error.code;
    throw error;
  }
};

describe("shell", () => {
  it("brings every value through, whatever is in it", () => {
    const values = [...HOSTILE, ...fc.sample(anyValue, 300)].filter((value) => !value.includes("\0"));
    const variables = Object.fromEntries(values.map((value, index) => [`V${index}`, value]));
    expect(inShell(print("shell", variables), Object.keys(variables))).toEqual(
      // What is no text cannot be in an environment either.
      values.map((value) => Buffer.from(value).toString()),
    );
  });

  it("adds to NODE_OPTIONS, as Node splits it, and sets it where there is none", () => {
    const file = `/opt/o'brien "x" \\y $z/preload.cjs`;
    const text = print("shell", {}, nodeOption(file)).trimStart();
    const [alone] = inShell(text, ["NODE_OPTIONS"]);
    expect(splitOptions(alone ?? "")).toEqual(["--require", file]);
    const [added] = inShell(text, ["NODE_OPTIONS"], { NODE_OPTIONS: "--max-old-space-size=64" });
    expect(splitOptions(added ?? "")).toEqual(["--max-old-space-size=64", "--require", file]);
  });
});

describe.each([
  ["dotenv", (text: string) => parse(text)],
  [
    "dotenv",
    (text: string) => Object.fromEntries(readEnvFile(Buffer.from(text)).entries.map((e) => [e.name, e.value])),
  ],
  ["dotenv", (text: string) => ({ V: inShell(text, ["V"])[0] ?? "" })],
  ["docker", inDockerfile],
] as const)("%s", (format, read) => {
  it("brings a value through or refuses it, and says whose it is", () => {
    let told = 0;
    fc.assert(
      fc.property(anyValue, (value) => {
        const variables = { V: value };
        const code = refusalOf(() => print(format, variables));
        if (code === undefined) expect(read(print(format, variables))).toEqual(variables);
        else {
          told += 1;
          expect(code).toBe("CONFIG_USAGE");
          expect(value).toMatch(/['\\\p{Cc}\p{Cs}\u2028\u2029]/u);
          expect(() => print(format, variables)).toThrow(/The value of V has/);
        }
      }),
      { numRuns: 150 },
    );
    expect(told).toBeGreaterThan(0);
  });

  it("takes paths with spaces and dollars, and plain ones without quotes", () => {
    const variables = { A: "/a b/$HOME/#c", B: "/run/sidekey/ca.pem", C: "http://[::1]:7070" };
    const text = print(format, variables);
    expect(text).toContain("B=/run/sidekey/ca.pem");
    expect(text.split("\n")).toHaveLength(3);
  });
});

describe("kubernetes", () => {
  it("brings every value through, and expands nothing", () => {
    fc.assert(
      fc.property(anyValue, anyValue, (one, two) => {
        // YAML 1.2 has no lone surrogates, nor has an environment.
        const variables = { ONE: Buffer.from(one).toString(), TWO: Buffer.from(two).toString() };
        expect(inKubernetes(print("kubernetes", variables))).toEqual(variables);
      }),
    );
  });
});
