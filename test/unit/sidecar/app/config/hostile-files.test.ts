import { afterEach, describe, expect, it } from "vitest";
import { formatProblem } from "../../../../../src/config/problem.ts";
import { loadConfig } from "../../../../../src/sidecar/app/config/config.ts";

const CANARY = "sk-canary-51f0a2";

/** Each file is refused; its values hold the canary, which no problem may show. */
const FILES: Readonly<Record<string, string>> = {
  "an alias bomb": [
    "version: 1",
    `a: &a [${CANARY}, ${CANARY}]`,
    ...Array.from(
      { length: 12 },
      (_, n) => `b${n}: &b${n} [*${n === 0 ? "a" : `b${n - 1}`}, *${n === 0 ? "a" : `b${n - 1}`}]`,
    ),
  ].join("\n"),
  "an alias to itself": `version: 1\nagent: &x [*x, ${CANARY}]\n`,
  "20,000 brackets": `version: 1\nagent: ${"[".repeat(20_000)}${CANARY}`,
  "20,000 closed brackets": `version: 1\nagent: ${"[".repeat(20_000)}${"]".repeat(20_000)}`,
  "20,000 dashes": `${"- ".repeat(20_000)}${CANARY}`,
  "a scalar of 10 MB": `version: 1\nagent: ${CANARY.repeat(700_000)}`,
  "a scalar of 1 MB": `version: 1\nagent: ${CANARY.repeat(60_000)}`,
  "a key of 1 MB": `version: 1\n${"k".repeat(1_000_000)}: ${CANARY}\n`,
  "50,000 unknown keys": `version: 1\n${Array.from({ length: 50_000 }, (_, n) => `k${n}: x`).join("\n")}\n`,
  "5,000 unknown keys": `version: 1\n${Array.from({ length: 5_000 }, (_, n) => `k${n}: ${CANARY}`).join("\n")}\n`,
  "1,000 broken routes": `version: 1\nroutes:\n${Array.from({ length: 1_000 }, (_, n) => `  r${n}: ${CANARY}`).join("\n")}\n`,
  "a duplicate key": `version: 1\nagent: ${CANARY}\nagent: ${CANARY}\n`,
  "two documents": `version: 1\n---\nagent: ${CANARY}\n`,
  "a merge key": `version: 1\n<<: { agent: ${CANARY} }\n`,
  "a merge of an alias": `version: 1\nbase: &b { agent: ${CANARY} }\n<<: *b\n`,
  "__proto__ at the root": `version: 1\n__proto__: { polluted: ${CANARY} }\n`,
  "__proto__ as a route": `version: 1\nroutes: { __proto__: { polluted: ${CANARY} } }\n`,
  "__proto__ as a quoted source": `version: 1\nsources: { "__proto__": { polluted: ${CANARY} } }\n`,
  "constructor.prototype": `version: 1\nconstructor: { prototype: { polluted: ${CANARY} } }\n`,
  "constructor as a route": `version: 1\nroutes: { constructor: ${CANARY}/x }\n`,
  "the Norway problem": `version: yes\nunmatched: no\nlog: { level: ${CANARY} }\n`,
  "a sexagesimal duration": `version: 1\nroutes: { a.example: { secret: a/b, max_age: 1:30 } }\nagent: "${CANARY} "\n`,
  "an octal version": `version: 0o1\nagent: "${CANARY} "\n`,
  "tabs as indentation": `version: 1\nroutes:\n\ta.example: ${CANARY}\n`,
  "a byte order mark in the middle": `version: 1\n\ufeffagent: "${CANARY} "\n`,
  "a byte order mark twice": `\ufeff\ufeffversion: 1\nagent: "${CANARY} "\n`,
  "a NUL": `version: 1\nagent: ${CANARY}\0\n`,
  "an escape sequence of a terminal": `version: 1\nagent: \u001b[2J${CANARY}\n`,
  "such a sequence as an escape, in a key": `version: 1\n"\\e[2J\\a${"x".repeat(200)}": ${CANARY}\n`,
  "unknown keys": `version: 1\napi_key: ${CANARY}\npasword: ${CANARY}\n`,
  "a secret written inline": `version: 1\nroutes: { api.openai.com: ${CANARY} }\n`,
  "a secret with a colon written inline": `version: 1\nroutes: { api.openai.com: "${CANARY}:x" }\n`,
  "a credential written inline": `version: 1\nsources: { local: { kind: local, key: ${CANARY}, token: { value: ${CANARY} } } }\n`,
  "wrong types throughout": `version: [${CANARY}]\nagent: { a: ${CANARY} }\nstate: [${CANARY}]\nlisten: ${CANARY}\nsources: ${CANARY}\nroutes: ${CANARY}\nunmatched: [${CANARY}]\negress: [${CANARY}]\nupstream: ${CANARY}\naudit: ${CANARY}\nlimits: ${CANARY}\nlog: ${CANARY}\n`,
  "bad words in every scalar": `version: ${CANARY}\nagent: "${CANARY}!"\nlisten: { proxy: ${CANARY} }\nroutes:\n  a: { match: "${CANARY} ${CANARY}", secret: ${CANARY}, deny: ["${CANARY} x"], env: ${CANARY}, max_age: ${CANARY}, timeouts: { idle: ${CANARY} }, cleartext: ${CANARY}, inject: { kind: ${CANARY} } }\n  b: { match: "https://${CANARY}@h/", secret: "${CANARY}#" }\n  c: { match: "http://${CANARY}/", secret: a/b, inject: { kind: basic, username: "${CANARY}:" } }\nunmatched: ${CANARY}\negress: { allow: [${CANARY}] }\nupstream: { ca: [${CANARY}], connect: { "a.example:1": ${CANARY} } }\naudit: { sync: ${CANARY}, max_size: ${CANARY}, keep: ${CANARY} }\nlimits: { streams: ${CANARY} }\nlog: { level: ${CANARY} }\n`,
  "routes that tie": `version: 1\nroutes:\n  a: { match: "https://${CANARY}.example/${CANARY}", secret: a/b }\n  b: { match: "https://${CANARY}.example/${CANARY}", secret: a/b }\n`,
  "a tag that constructs": `version: 1\nagent: !!js/function "${CANARY}"\n`,
  "a binary tag": `version: 1\nagent: !!binary ${Buffer.from(CANARY).toString("base64")}\n`,
  "a YAML 1.1 directive": `%YAML 1.1\n---\nversion: 1\nunmatched: no\nagent: "${CANARY} "\n`,
  "a list as a key": `version: 1\n? [${CANARY}]\n: ${CANARY}\n`,
  "an anchor in a key": `version: 1\n&k agent: "${CANARY} "\n`,
  "an unclosed quote": `version: 1\nagent: "${CANARY}\n`,
  "an unclosed brace": `version: 1\nroutes: { a.example: ${CANARY}\n`,
  "a bad escape": `version: 1\nagent: "\\q${CANARY}"\n`,
  "text after a value": `version: 1\nagent: "x" ${CANARY}\n`,
  "a colon too many": `version: 1\nagent: ${CANARY}: ${CANARY}\n`,
  "a block scalar as a key": `version: 1\n|\n  ${CANARY}\n: x\n`,
  "an interpolation": `version: 1\nagent: "\${env:${CANARY}}"\n`,
  "a wildcard route of every host": `version: 1\nroutes: { "*": ${CANARY}/x }\n`,
  "a path that climbs out": `version: 1\nsources: { f: { kind: file, root: . } }\nroutes: { a.example: "../${CANARY}" }\n`,
  "infinity and not a number": `version: .inf\nlimits: { streams: .nan }\nagent: "${CANARY} "\n`,
  "nothing but a comment": `# ${CANARY}\n`,
  nothing: "",
  "a bare scalar": CANARY,
};

describe("hostile files", () => {
  afterEach(() => {
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it.each(Object.entries(FILES))("refuses %s, with a place and without the value", (_name, text) => {
    const result = loadConfig({ file: "/srv/sidekey.yaml", text });
    if (!("problems" in result)) throw new Error("the file was accepted");
    expect(result.problems.length).toBeGreaterThan(0);
    for (const problem of result.problems) {
      expect(problem.line).toBeGreaterThan(0);
      expect(problem.column).toBeGreaterThan(0);
      expect(problem.message).not.toBe("");
      const shown = formatProblem(problem) + JSON.stringify(problem);
      expect(shown).not.toContain(CANARY);
      expect(shown).not.toContain(CANARY.slice(-8));
      // biome-ignore lint/suspicious/noControlCharactersInRegex: no terminal sequence may get through
      expect(formatProblem(problem)).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f]/);
    }
  });
});
