/** Which lines of a `.env` file are keys, and whose. */
import { describe, expect, it } from "vitest";
import { fileText } from "../../../../src/cli/init/file-text.ts";
import { hostsOf, type Recognised, recognise } from "../../../../src/cli/init/recognise.ts";
import { readEnvFile } from "../../../../src/config/env-file.ts";
import { loadConfig } from "../../../../src/sidecar/app/config/config.ts";
import { createPresetLibrary } from "../../../../src/sidecar/app/config/presets.ts";
import { isSecretPath } from "../../../../src/vault/secrets/path.ts";

const library = createPresetLibrary();
const presets = library.names().flatMap((name) => library.get(name) ?? []);
const see = (text: string, placeholders: readonly string[] = []): Recognised => {
  const { entries, problems } = readEnvFile(Buffer.from(text));
  expect(problems).toEqual([]);
  return recognise(entries, presets, (value) => placeholders.includes(value));
};
const textOf = ({ value }: Recognised["found"][number]): string => value.lend((bytes) => bytes.toString());
const summary = ({ found }: Recognised) =>
  found.map((key) => [key.preset.name, key.entries.map(({ name }) => name).join(), textOf(key), key.path, key.env]);
const reasons = ({ left }: Recognised) => left.map(({ name, line, reason }) => `${name}:${line} ${reason}`);

const KEY = "0123456789abcdef0123456789abcdef";

describe("a key", () => {
  it.each(
    presets.filter(({ secret }) => secret === undefined).flatMap((one) => one.env.map((name) => [name, one.name])),
  )("%s is %s's by its name", (name, preset) => {
    expect(see(`${name}=${KEY}\n`).found.map((key) => [key.preset.name, key.env, textOf(key)])).toEqual([
      [preset, undefined, KEY],
    ]);
  });

  it.each(presets.flatMap(({ name, prefixes }) => prefixes.map((prefix) => [prefix, name])))(
    "that begins with %s is %s's under any name, which its route then sets",
    (prefix, preset) => {
      const { found } = see(`MY_OWN=${prefix}${KEY}\n`);
      expect(found.map((key) => [key.preset.name, key.env])).toEqual([[preset, "MY_OWN"]]);
    },
  );

  it("that begins like another provider's is that provider's, whatever its name", () => {
    expect(summary(see(`OPENAI_API_KEY=sk-or-v1-${KEY}\n`))).toEqual([
      ["openrouter", "OPENAI_API_KEY", `sk-or-v1-${KEY}`, "production/openrouter/openai-api-key", "OPENAI_API_KEY"],
    ]);
  });

  it("under two names is one, and the preset's name counts", () => {
    expect(summary(see(`TOKEN=ghp_${KEY}\nGH_TOKEN=ghp_${KEY}\nGITHUB_TOKEN=ghp_${KEY}\n`))).toEqual([
      ["github", "GITHUB_TOKEN,GH_TOKEN,TOKEN", `ghp_${KEY}`, "production/github/token", undefined],
    ]);
  });

  it("of a provider that has one already is left alone: a route sends one", () => {
    const seen = see(`GH_TOKEN=ghp_${KEY}\nGITHUB_TOKEN=ghp_other${KEY}\nBOT=ghp_third${KEY}\n`);
    expect(summary(seen).map(([, names]) => names)).toEqual(["GITHUB_TOKEN"]);
    expect(reasons(seen)).toEqual([
      "GH_TOKEN:1 has another key for GitHub API than GITHUB_TOKEN, and a route sends one",
      "BOT:3 has another key for GitHub API than GITHUB_TOKEN, and a route sends one",
    ]);
  });

  it("of several variables is put together, and what is no secret in it stays", () => {
    const seen = see(`TWILIO_ACCOUNT_SID=AC1\nTWILIO_AUTH_TOKEN=${KEY}\nDD_APP_KEY='b"c'\nDD_API_KEY=${KEY}\n`);
    expect(summary(seen)).toEqual([
      [
        "datadog",
        "DD_API_KEY,DD_APP_KEY",
        `{"api_key":"${KEY}","app_key":"b\\"c"}`,
        "production/datadog/credentials",
        undefined,
      ],
      ["twilio", "TWILIO_AUTH_TOKEN", `AC1:${KEY}`, "production/twilio/credentials", undefined],
    ]);
    expect(reasons(seen)).toEqual([]);
  });

  it("of several variables is left alone when one is missing, or has its placeholder already", () => {
    expect(reasons(see(`TWILIO_AUTH_TOKEN=${KEY}\nJIRA_EMAIL=a@b.test\n`))).toEqual([
      "TWILIO_AUTH_TOKEN:1 is one part: Twilio needs TWILIO_ACCOUNT_SID too",
      "JIRA_EMAIL:2 is one part: Atlassian Cloud needs JIRA_API_TOKEN too",
    ]);
    expect(reasons(see("TWILIO_AUTH_TOKEN=ours-ours-ours-1\nTWILIO_ACCOUNT_SID=AC1\n", ["ours-ours-ours-1"]))).toEqual([
      "TWILIO_ACCOUNT_SID:2 belongs to the key for Twilio, which has its placeholder already",
    ]);
  });
});

describe("what is no key", () => {
  it.each([
    ["OPENAI_API_KEY=", "is empty"],
    ["OPENAI_API_KEY=your-api-key", "looks like an example, not like a key"],
    ["OPENAI_API_KEY=<key>", "looks like an example, not like a key"],
    ["OPENAI_API_KEY=sk-...", "looks like an example, not like a key"],
    ["OPENAI_API_KEY=XXXXXXXX", "looks like an example, not like a key"],
    ["OPENAI_API_KEY=put_key_here", "looks like an example, not like a key"],
    ["OPENAI_API_KEY=changeme", "looks like an example, not like a key"],
    ["DATABASE_URL=postgres://u:p@h/db", "is known to no preset"],
    ["LOG_LEVEL=debug", "is known to no preset"],
    ["SHORT=sk-ant-1", "is known to no preset"],
    ["my.name=sk-ant-0123456789abcdef", "is known to no preset"],
    [
      'OPENAI_API_KEY="two\nlines"',
      "has a value that holds a control character, such as a line break, NUL or tab, so it can never stand in a header",
    ],
  ])("%j is left alone: %s", (line, reason) => {
    const seen = see(`${line}\n`);
    expect(seen.found).toEqual([]);
    expect(seen.left.map((one) => one.reason)).toEqual([reason]);
  });

  it("is a placeholder of ours", () => {
    const seen = see(`OPENAI_API_KEY=sk-proj-ours-0001\nOTHER=${KEY}\n`, ["sk-proj-ours-0001"]);
    expect(seen.found).toEqual([]);
    expect(seen.done.map(({ name }) => name)).toEqual(["OPENAI_API_KEY"]);
    expect(reasons(seen)).toEqual(["OTHER:2 is known to no preset"]);
  });

  it("never tells a value in a reason", () => {
    const text = presets.flatMap(({ env }) => env).map((name, index) => `${name}=canary${index}-${KEY}`);
    expect(JSON.stringify(see(`${text.join("\n")}\nX=canary-x\nY="canary\ny"\n`).left)).not.toContain("canary");
  });
});

describe("the file that is written", () => {
  const all = presets.flatMap(({ env, secret }) =>
    secret === undefined
      ? env.slice(0, 1)
      : [...JSON.stringify(secret).matchAll(/\{([A-Z_]+)\}/g)].map(([, n = ""]) => n),
  );

  it("is valid with every key that is known, without a warning, and routes each as its preset says", () => {
    const { found, left } = see(all.map((name, index) => `${name}=${index}-${KEY}`).join("\n"));
    expect(left).toEqual([]);
    // The presets for git have no variable: they are for whoever writes them.
    expect(found.map(({ preset }) => preset.name)).toEqual(
      presets.filter(({ env }) => env.length > 0).map(({ name }) => name),
    );
    const result = loadConfig({ file: "/x/sidekey.yaml", text: fileText(found) });
    expect(result).toMatchObject({ config: expect.anything(), warnings: [] });
    if (!("config" in result)) return;
    expect(result.config.routes.map((one) => one.preset)).toEqual(found.map(({ preset }) => preset.name));
    for (const { path } of found) expect(isSecretPath(path), path).toBe(true);
  });

  it("is valid without any, with every commented line of it taken in", () => {
    const text = fileText([]);
    expect(loadConfig({ file: "/x/sidekey.yaml", text })).toMatchObject({
      config: { unmatched: "deny" },
      warnings: [],
    });
    const open = text.replaceAll(/^( *)# (?=api\.example|billing|unmatched| {2}\w+:)/gm, "$1");
    expect(loadConfig({ file: "/x/sidekey.yaml", text: open })).toMatchObject({
      config: { unmatched: "tunnel", routes: [{ name: "openai" }, { name: "api.example.com" }, { name: "billing" }] },
      warnings: [],
    });
  });
});

describe("hostsOf", () => {
  it("is every host of a preset, and none where one of them is a wildcard", () => {
    const of = (name: string) => hostsOf(library.get(name) ?? presets[0] ?? expect.fail());
    expect(of("slack")).toEqual(["slack.com", "files.slack.com"]);
    expect(of("pinecone")).toEqual([]);
  });
});
