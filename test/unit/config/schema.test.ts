/** config/schema.json against the program: it takes every file that is right, and refuses what is not a file's shape. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { parseConfigDocument } from "../../../src/config/document.ts";
import { loadConfig } from "../../../src/sidecar/app/config/config.ts";
import { rootSchema } from "../../../src/sidecar/app/config/schema.ts";
import { isVaultFile } from "../../../src/vault/server/config/config.ts";
import { renderConfigSchema } from "../../support/references/config-schema.ts";

const ROOT = join(import.meta.dirname, "../../..");

const validate = new Ajv({ strict: true, allowUnionTypes: true, allErrors: true }).compile(
  JSON.parse(renderConfigSchema()),
);

/** What is wrong by the schema: place and keyword. */
const violations = (value: unknown): readonly string[] =>
  validate(value) ? [] : (validate.errors ?? []).map(({ instancePath, keyword }) => `${instancePath} ${keyword}`);

interface Example {
  /** File, and number in it. */
  readonly name: string;
  readonly text: string;
}

const filesBelow = (folder: string, end: RegExp): readonly string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => end.test(name))
    .map((name) => join(folder, name))
    .sort();

const examplesIn = (path: string, pattern: RegExp, read: (found: string) => string): readonly Example[] =>
  [...readFileSync(join(ROOT, path), "utf8").matchAll(pattern)].map(([, found = ""], index) => ({
    name: `${path} #${index + 1}`,
    text: read(found),
  }));

const DOCUMENTS = [...readdirSync(ROOT).filter((name) => name.endsWith(".md")), ...filesBelow("docs", /\.md$/)];

/** Whole files of this format: in the documents, and in config/. */
const published: readonly Example[] = [
  ...DOCUMENTS.flatMap((path) => examplesIn(path, /^```yaml\n([\s\S]*?)^```$/gm, (text) => text)),
  ...filesBelow("config", /\.yaml$/).flatMap((path) => {
    const text = readFileSync(join(ROOT, path), "utf8");
    // A ConfigMap holds one as a text.
    const inside = parseAllDocuments(text).flatMap((document): Example[] => {
      const manifest: { kind?: string; data?: Record<string, string> } | null = document.toJS();
      const held = manifest?.kind === "ConfigMap" ? manifest.data?.["sidekey.yaml"] : undefined;
      return held === undefined ? [] : [{ name: `${path}, ConfigMap`, text: held }];
    });
    return [{ name: path, text }, ...inside];
  }),
].filter(({ name, text }) => /^version: 1$/m.test(text) && !isVaultFile(name.replace(/ #.*$/, ""), text));

const unescaped = (text: string): string =>
  JSON.parse(`"${text.replaceAll("\\'", "'").replaceAll(/(?<!\\)"/g, '\\"')}"`);

/** Every file that stands whole in a test: right ones and wrong ones. */
const written: readonly Example[] = filesBelow("test", /\.ts$/)
  .filter((path) => path !== "test/unit/config/schema.test.ts" && !/\bvault\/server\//.test(path))
  .flatMap((path) => [
    ...examplesIn(path, /`(\n?version: 1\n[^`\\]*)`/g, (text) => text.replaceAll(/\$\{[^}]*\}/g, "x")),
    ...examplesIn(path, /"(version: 1\\n(?:[^"\\\n]|\\.)*)"/g, unescaped),
    ...examplesIn(path, /'(version: 1\\n(?:[^'\\\n]|\\.)*)'/g, unescaped),
  ]);

const isAccepted = ({ text }: Example): boolean =>
  !("problems" in loadConfig({ file: "sidekey.yaml", text, baseDir: ROOT }));

/** Wrong in its shape, which is the schema's to say: unknown, missing and mistyped keys. */
const isMisshapen = (value: unknown): boolean => {
  const parsed = rootSchema.safeParse(value);
  const codes = parsed.success ? [] : parsed.error.issues.map(({ code }) => code);
  return codes.some((code) => code === "unrecognized_keys" || code === "invalid_type");
};

describe("config/schema.json", () => {
  it("is what the code says", async () => {
    await expect(renderConfigSchema()).toMatchFileSnapshot("../../../config/schema.json");
  });

  it("says of every key what it is for", () => {
    const bare: string[] = [];
    const visit = (node: unknown, path: string): void => {
      if (typeof node !== "object" || node === null) return;
      for (const [name, value] of Object.entries(node)) {
        if (name === "properties") {
          for (const [key, one] of Object.entries(value as Record<string, { description?: string; const?: unknown }>)) {
            if (one.description === undefined && one.const === undefined) bare.push(`${path}.${key}`);
          }
        }
        visit(value, `${path}.${name}`);
      }
    };
    visit(JSON.parse(renderConfigSchema()), "");
    expect(bare, "give it .describe(…), then: npm test -- --project unit schema -u").toEqual([]);
  });

  it("is held against the examples for every way to start", () => {
    const names = published.map(({ name }) => name);
    const wanted = ["config/sidekey.yaml", "config/compose.sidekey.yaml", "config/kubernetes/sidekey.yaml, ConfigMap"];
    expect(wanted.filter((name) => !names.includes(name))).toEqual([]);
  });

  it.each(published)("takes $name", ({ text }) => {
    const document = parseConfigDocument(text);
    expect(document.flaws).toEqual([]);
    expect(violations(document.value)).toEqual([]);
  });

  it("takes every file of the tests that the program takes", () => {
    const right = written.filter(isAccepted);
    expect(right.length).toBeGreaterThan(30);
    const refused = right.map(({ name, text }) => [name, violations(parseConfigDocument(text).value)] as const);
    expect(refused.filter(([, found]) => found.length > 0)).toEqual([]);
  });

  it("refuses every file of the tests that has not the shape of one", () => {
    const documents = written.map(({ name, text }) => ({ name, value: parseConfigDocument(text).value }));
    const wrong = documents.filter(({ value }) => isMisshapen(value));
    expect(wrong.length).toBeGreaterThan(2);
    expect(wrong.filter(({ value }) => violations(value).length === 0).map(({ name }) => name)).toEqual([]);
  });

  it.each([
    ["routes: {}", " required"],
    ["version: 2", "/version const"],
    ["version: 1\nagent: two words", "/agent pattern"],
    ["version: 1\nroutes: { x.test: { secret: a/b, max_age: 5 } }", "/routes/x.test/max_age type"],
    ["version: 1\nroutes: { x.test: { secret: a/b, max_age: soon } }", "/routes/x.test/max_age pattern"],
    ["version: 1\nroutes: { x.test: { secret: a/b, match: x.test } }", "/routes/x.test/match pattern"],
    ["version: 1\nroutes: { x.test: { secret: a/b, inject: { kind: magic } } }", "/routes/x.test/inject oneOf"],
    ["version: 1\nsources: { one: { kind: file } }", "/sources/one required"],
    ["version: 1\nsources: { One: { kind: env } }", "/sources propertyNames"],
    ["version: 1\nlisten: { proxy: 7070 }", "/listen/proxy type"],
    ["version: 1\nlimits: { streams: 0 }", "/limits/streams minimum"],
    ["version: 1\naudit: { max_size: 100MB }", "/audit/max_size pattern"],
  ])("refuses %j", (text, violation) => {
    expect(violations(parseConfigDocument(text).value)).toContain(violation);
    expect("problems" in loadConfig({ file: "sidekey.yaml", text, baseDir: ROOT })).toBe(true);
  });

  it("refuses an unknown key and an empty value at every place of the full example", () => {
    const full = readFileSync(join(ROOT, "config/sidekey.yaml"), "utf8");
    const places = [...maps(parseConfigDocument(full).value, [])];
    expect(places.length).toBeGreaterThan(15);
    for (const path of places) {
      const surplus = parseConfigDocument(full).value;
      mapAt(surplus, path)["no_such_key"] = 1;
      expect(violations(surplus), `${path.join(".")}.no_such_key`).not.toEqual([]);
      for (const key of Object.keys(mapAt(surplus, path)).filter((name) => name !== "no_such_key")) {
        const emptied = parseConfigDocument(full).value;
        mapAt(emptied, path)[key] = null;
        expect(violations(emptied), `${path.join(".")}.${key}`).not.toEqual([]);
      }
    }
  });
});

type Path = readonly (string | number)[];

function* maps(value: unknown, path: Path): Generator<Path> {
  if (typeof value !== "object" || value === null) return;
  if (!Array.isArray(value)) yield path;
  for (const [key, one] of Object.entries(value)) yield* maps(one, [...path, key]);
}

const mapAt = (value: unknown, path: Path): Record<string, unknown> =>
  path.reduce<unknown>((at, key) => (at as Record<string | number, unknown>)[key], value) as Record<string, unknown>;
