/**
 * What the documents say, held against the program: their YAML is accepted, the commands and options they show exist,
 * their links lead somewhere, and the tests that a promise names are there.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import type { CommandSpec } from "../../src/cli/command.ts";
import { COMMANDS, GROUPS } from "../../src/cli/commands/index.ts";
import { loadConfig } from "../../src/sidecar/app/config/config.ts";
import { rootSchema } from "../../src/sidecar/app/config/schema.ts";
import { isVaultFile, loadVaultConfig } from "../../src/vault/server/config/config.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

const DOCUMENTS: readonly string[] = [
  ...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];

interface Block {
  readonly language: string;
  readonly text: string;
}

const blocksOf = (text: string): readonly Block[] =>
  [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = "", body = ""]) => ({ language, text: body }));

const inlineCodeOf = (text: string): readonly string[] =>
  [...text.replaceAll(/^```[\s\S]*?^```$/gm, "").matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);

/** What a document tells people to type: lines behind a prompt, shell blocks, and code in its sentences. */
const commandLinesOf = (text: string): readonly string[] => [
  ...blocksOf(text).flatMap(({ language, text: body }) => {
    const lines = body.split("\n");
    if (language === "console") return lines.filter((line) => line.startsWith("$ ")).map((line) => line.slice(2));
    return language === "sh" ? lines : [];
  }),
  ...inlineCodeOf(text),
];

const words = (line: string): readonly string[] => line.trim().split(/\s+/);

/** The command that `sidekey ARGS` runs, or undefined. */
const commandOf = (args: readonly string[]): CommandSpec | undefined =>
  COMMANDS.find(({ name }) => name === args.slice(0, 2).join(" ")) ?? COMMANDS.find(({ name }) => name === args[0]);

const isKnown = (args: readonly string[]): boolean => {
  const [first = ""] = args;
  if (first === "" || first.startsWith("-")) return true;
  return commandOf(args) !== undefined || (args.length === 1 && Object.hasOwn(GROUPS, first));
};

const unknownOptions = (args: readonly string[]): readonly string[] => {
  const spec = commandOf(args);
  if (spec === undefined) return [];
  const known = new Set(["-h", "--help"]);
  for (const { flags } of spec.options ?? []) {
    for (const flag of flags.match(/(?<![\w-])--?[a-z-]+/g) ?? []) known.add(flag);
  }
  const end = args.indexOf("--");
  const own = end === -1 ? args : args.slice(0, end);
  return own.filter((word) => /^--?[a-z]/.test(word)).filter((word) => !known.has(word));
};

/** The arguments of every `sidekey` in a line, each up to the end of its command. */
const invocations = (line: string): readonly (readonly string[])[] =>
  [...line.matchAll(/(?:^|[|;&] *|npx )sidekey(?= |$)([^|;&>]*)/g)].map(([, rest = ""]) =>
    rest.trim() === "" ? [] : words(rest),
  );

describe.each(DOCUMENTS)("%s", (path) => {
  const text = read(path);

  it("shows only files that are accepted", () => {
    for (const block of blocksOf(text).filter(({ language }) => language === "yaml")) {
      const load = isVaultFile(path, block.text) ? loadVaultConfig : loadConfig;
      const result = load({ file: path, text: block.text, baseDir: ROOT });
      expect("problems" in result ? result.problems : []).toEqual([]);
    }
  });

  it("names only commands and options that there are", () => {
    const all = commandLinesOf(text).flatMap(invocations);
    expect(all.filter((args) => !isKnown(args))).toEqual([]);
    expect(all.map(unknownOptions).filter((options) => options.length > 0)).toEqual([]);
  });

  it("names only npm scripts that there are", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const named = commandLinesOf(text).flatMap((line) =>
      [...line.matchAll(/\bnpm (?:run ([\w-]+)|(test))\b/g)].map(([, script, test]) => script ?? test ?? ""),
    );
    expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
  });

  it("links only to files that are there", () => {
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, to = ""]) => to.replace(/#.*$/, ""));
    const local = links.filter((to) => to !== "" && !/^[a-z]+:/.test(to));
    expect(local.filter((to) => !existsSync(join(ROOT, dirname(path), to)))).toEqual([]);
  });
});

describe("README.md", () => {
  const text = read("README.md");

  it("names every command", () => {
    const shown = new Set(inlineCodeOf(text));
    const groups = inlineCodeOf(text).flatMap((code) => (code.startsWith("sidekey ") ? [words(code)[1] ?? ""] : []));
    for (const { name } of COMMANDS) {
      const [group = "", leaf] = name.split(" ");
      expect(groups, name).toContain(group);
      if (leaf !== undefined) expect(shown.has(leaf) || shown.has(`sidekey ${name}`), name).toBe(true);
    }
  });
});

describe("docs/configuration.md", () => {
  const text = read("docs/configuration.md");
  const [reference = "", rest = ""] = text.split("## Not in this version");
  const [later = ""] = rest.split("\n## ");
  const code = inlineCodeOf(reference);

  it("has every key that the file can hold", () => {
    const keys = new Set<string>();
    const collect = (node: unknown): void => {
      if (typeof node !== "object" || node === null) return;
      for (const [name, value] of Object.entries(node)) {
        if (name === "properties") for (const key of Object.keys(value as object)) keys.add(key);
        collect(value);
      }
    };
    collect(z.toJSONSchema(rootSchema, { io: "input", unrepresentable: "any" }));
    expect(keys.size).toBeGreaterThan(40);
    const isShown = (key: string): boolean => code.some((span) => span.split(/[^a-z_]+/).includes(key));
    expect([...keys].filter((key) => !isShown(key))).toEqual([]);
  });

  const listed = (kind: string): readonly string[] =>
    inlineCodeOf(new RegExp(`\\n- ${kind}:([\\s\\S]*?)(?=\\n- |\\n\\n)`).exec(later)?.[1] ?? "");
  const refusals = (file: object): readonly string[] => {
    const result = loadConfig({ file: "sidekey.yaml", text: JSON.stringify({ version: 1, ...file }), baseDir: ROOT });
    return "problems" in result ? result.problems.map(({ message }) => message) : [];
  };
  const nested = (keys: readonly string[]): unknown =>
    keys.reduceRight<unknown>((inner, key) => ({ [key === "*" ? "example.com" : key]: inner }), "x");

  it.each([
    ...listed("keys").map((key) => [key, nested(key.split(".")) as object] as const),
    ...listed("injections").map((kind) => [kind, { routes: { "example.com": { inject: { kind } } } }] as const),
    ...listed("sources").map((kind) => [kind, { sources: { one: { kind } } }] as const),
  ])("is right that %s is refused as not in this version", (_name, file) => {
    expect(refusals(file)).toContainEqual(expect.stringMatching(/not (?:built into|in) this version/));
  });
});

describe("docs/adr/README.md", () => {
  it("lists every decision under its own title", () => {
    const titles = readdirSync(join(ROOT, "docs/adr"))
      .filter((name) => /^\d/.test(name))
      .sort()
      .map((name) => {
        const [, number, title] = /^# (\d+)\. (.*)/.exec(read(join("docs/adr", name))) ?? [];
        return `${number}. [${title}](${name})`;
      });
    expect(titles.length).toBeGreaterThan(10);
    expect(read("docs/adr/README.md").match(/^\d+\. .*/gm)).toEqual(titles);
  });
});

describe("docs/security-model.md", () => {
  const entries = read("docs/security-model.md")
    .split(/^- (?=\[test\/)/m)
    .slice(1)
    .map((entry) => entry.split("\n\n")[0]?.replaceAll(/\s+/g, " ") ?? "")
    .map((entry) => ({
      file: /^\[([^\]]+)\]/.exec(entry)?.[1] ?? "",
      names: [...entry.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name),
    }));

  it("names tests for its promises", () => {
    expect(entries.length).toBeGreaterThan(15);
  });

  it.each(entries)("finds the tests it names in $file", ({ file, names }) => {
    const source = read(file);
    // A name may stand in either kind of quotes.
    expect(names.filter((name) => !source.includes(`"${name}`) && !source.includes(`\`${name}`))).toEqual([]);
  });
});
