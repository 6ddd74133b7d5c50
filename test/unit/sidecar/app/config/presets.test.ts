/** Every preset that is shipped: read, used in a file, explained, and the same in the index and in the reference. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageFile } from "../../../../../src/core/package.ts";
import { loadConfig, type SidecarConfig } from "../../../../../src/sidecar/app/config/config.ts";
import { createPresetLibrary, indexHosts, type Preset } from "../../../../../src/sidecar/app/config/presets.ts";
import { createExplainer } from "../../../../../src/sidecar/app/explain.ts";
import { parseHostKey } from "../../../../../src/sidecar/policy/pattern.ts";
import { renderPresetReference } from "../../../../support/references/preset-reference.ts";

const library = createPresetLibrary();
const NAMES = library.names();
const preset = (name: string): Preset => {
  const found = library.get(name);
  if (found === undefined) throw new TypeError(name);
  return found;
};
const load = (text: string): SidecarConfig => {
  const result = loadConfig({ file: "/x/sidekey.yaml", text: `version: 1\n${text}` });
  if ("problems" in result) throw new Error(JSON.stringify(result.problems));
  return result.config;
};
/** A URL that a pattern covers. */
const urlOf = (text: string): string =>
  text
    .replace("://**.", "://a.b.")
    .replace("://*.", "://a.")
    .replace(/\/\*\*$/, "/some/path");

describe("the presets", () => {
  it("are those that people ask for first, and more", () => {
    expect(NAMES).toEqual(
      expect.arrayContaining(
        (
          "openai anthropic gemini mistral groq cohere huggingface openrouter github gitlab tavily serper slack stripe " +
          "notion linear sentry datadog sendgrid twilio"
        ).split(" "),
      ),
    );
  });

  it("are all in one file without a tie, and each host stands for one preset", () => {
    const routes = NAMES.map((name) => `  ${name}: { preset: ${name}, secret: a/${name} }`).join("\n");
    expect(load(`routes:\n${routes}\n`).routes.map(({ preset: used }) => used)).toEqual(NAMES);
    const hosts = NAMES.filter((name) => preset(name).short_form).flatMap((name) =>
      Object.keys(indexHosts([preset(name)])),
    );
    expect(hosts.length).toBe(new Set(hosts).size);
  });

  it("are in the index by their hosts", async () => {
    const index = `${JSON.stringify(indexHosts(NAMES.map(preset)), undefined, 2)}\n`;
    await expect(index).toMatchFileSnapshot("../../../../../config/presets/hosts.json");
  });

  it("are what docs/presets.md says", async () => {
    await expect(renderPresetReference(NAMES.map(preset))).toMatchFileSnapshot("../../../../../docs/presets.md");
  });

  it("share no variable and no beginning of a key, so that one is told from the other", () => {
    const variables = NAMES.flatMap((name) => preset(name).env);
    expect(variables.filter((name, index) => variables.indexOf(name) !== index)).toEqual([]);
    const prefixes = NAMES.flatMap((name) => preset(name).prefixes);
    for (const one of prefixes) expect(prefixes.filter((other) => other !== one && other.startsWith(one))).toEqual([]);
    expect(new Set(prefixes).size).toBe(prefixes.length);
  });
});

describe.each(NAMES)("the preset %s", (name) => {
  const { match, documentation, placeholder, prefixes, env, secret, base_url, short_form } = preset(name);

  it("is explained, on each of its hosts", () => {
    const explain = createExplainer(load(`routes:\n  r: { preset: ${name}, secret: production/x/key }\n`));
    for (const { text, scheme } of match) {
      expect(scheme).toBe("https");
      const explanation = explain("POST", urlOf(text));
      expect(explanation).toMatchObject({
        decision: "inject",
        route: "r",
        preset: name,
        pattern: text,
        secret: expect.stringContaining("local:production/x/key"),
      });
      expect(explanation.inject?.length).toBeGreaterThan(0);
    }
  });

  it(`is ${short_form ? "" : "not "}what a route takes whose key is a host of it`, () => {
    for (const { text } of match) {
      const host = new URL(urlOf(text)).hostname;
      const explanation = createExplainer(load(`routes:\n  ${host}: production/x/key\n`))("GET", `https://${host}/any`);
      expect(explanation).toMatchObject({ decision: "inject", pattern: `https://${host}/**` });
      expect(explanation.preset === name).toBe(short_form);
    }
  });

  it("names a page of its vendor, by https", () => {
    const page = new URL(documentation);
    expect(page.protocol).toBe("https:");
    expect(page.hostname).toContain(".");
  });

  it("makes placeholders that an SDK takes for a key, stable and different for each route", () => {
    const [route] = load(`routes:\n  one: { preset: ${name}, secret: a/b }\n`).routes;
    const [again] = load(`routes:\n  one: { preset: ${name}, secret: a/c }\n`).routes;
    const [other] = load(`routes:\n  two: { preset: ${name}, secret: a/b }\n`).routes;
    expect(route?.placeholder).toMatch(/^[!-~]{16,256}$/);
    expect(route?.placeholder).toBe(again?.placeholder);
    expect(route?.placeholder).not.toBe(other?.placeholder);
    expect(env.length === 0 || placeholder !== undefined).toBe(true);
    if (prefixes.length > 0) expect(prefixes.some((prefix) => route?.placeholder.startsWith(prefix))).toBe(true);
    expect(route?.variables).toEqual(env);
  });

  it("says what to store of variables that it knows", () => {
    const used = [...JSON.stringify(secret ?? {}).matchAll(/\{([A-Z][A-Z0-9_]*)\}/g)].map(([, variable]) => variable);
    expect(secret === undefined || used.some((variable) => env.includes(variable ?? ""))).toBe(true);
    for (const variable of Object.keys(base_url)) expect(variable).toMatch(/URL$|ENDPOINT$|BASE$|HOST$/);
  });
});

describe("the library", () => {
  let directory = "";
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "sidekey-presets-"));
    mkdirSync(join(directory, "presets"));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const at = () => createPresetLibrary(join(directory, "presets"));
  const write = (name: string, text: string): void => writeFileSync(join(directory, "presets", name), text);

  it.each(["../secret", "a/b", "", "UPPER", "x".repeat(33), "no-such"])("has nothing under %j", (name) => {
    writeFileSync(join(directory, "secret.yaml"), readFileSync(packageFile("config", "presets", "openai.yaml")));
    expect(at().get(name)).toBeUndefined();
  });

  const GOOD = "title: T\ndocumentation: https://x.test/\nmatch: https://a.test/**\ninject: { kind: bearer }\n";
  it.each([
    ["no YAML", "title: ["],
    ["an unknown key", `${GOOD}more: 1\n`],
    ["a link by http", GOOD.replace("https://x", "http://x")],
    ["a whole reference", GOOD.replace("bearer }", "bearer, secret: a/b }")],
    ["a placeholder that tells no two routes apart", `${GOOD}placeholder: sk-always-the-same\n`],
    ["a placeholder of eight characters", `${GOOD}placeholder: "{hex:8}"\n`],
    ["a placeholder of an unknown alphabet", `${GOOD}placeholder: "{words:40}"\n`],
    ["a placeholder with a space", `${GOOD}placeholder: "key {hex:40}"\n`],
    ["a placeholder with half a part", `${GOOD}placeholder: "{hex:40"\n`],
  ])("refuses a file with %s as damaged, and says which", (_, text) => {
    write("good.yaml", GOOD);
    expect(at().get("good")?.title).toBe("T");
    write("bad.yaml", text);
    expect(() => at().get("bad")).toThrow(/INTERNAL: .*bad\.yaml is not as it was shipped/);
  });

  it("reads the presets that are asked for, and no other", () => {
    write("good.yaml", GOOD);
    write("bad.yaml", "[");
    write("hosts.json", JSON.stringify({ "a.test": "good", "b.test": "bad" }));
    const one = at();
    const pattern = parseHostKey("a.test");
    if ("problem" in pattern) throw new TypeError("no host");
    expect(one.nameFor(pattern)).toBe("good");
    expect(one.get("good")?.name).toBe("good");
    expect(() => one.get("bad")).toThrow(/INTERNAL/);
  });

  it("finds a host by its name, and by the wildcards above it, the nearest first", () => {
    write("hosts.json", JSON.stringify({ "api.x.test": "one", "*.x.test": "two", "**.x.test": "three", toString: 1 }));
    const nameFor = (key: string): string | undefined => {
      const pattern = parseHostKey(key);
      if ("problem" in pattern) throw new TypeError(key);
      return at().nameFor(pattern);
    };
    expect(["api.x.test", "b.x.test", "a.b.x.test", "*.x.test", "**.x.test"].map(nameFor)).toEqual([
      "one",
      "two",
      "three",
      "two",
      "three",
    ]);
    expect(["x.test", "api.x.test:8443", "api.y.test", "*.y.test", "tostring"].map(nameFor)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    write("hosts.json", "[");
    expect(() => nameFor("api.x.test")).toThrow(/hosts\.json is not as it was shipped/);
  });
});
