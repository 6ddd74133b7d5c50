/** docs/presets.md, made from config/presets: what people read there is what a route gets. */

import type { Preset } from "../../../src/sidecar/app/config/presets.ts";
import { placeText } from "../../../src/sidecar/injection/place.ts";
import { formatHostPattern } from "../../../src/sidecar/policy/pattern.ts";
import { table } from "./markdown.ts";

type Injection = Preset["inject"][number];

const code = (text: string): string => `\`${text}\``;

const sent = (injection: Injection, preset: Preset): string => {
  const member = injection.secret === undefined ? "" : `, member ${code(injection.secret.slice(1))}`;
  switch (injection.kind) {
    case "bearer":
      return code(`${injection.name}: Bearer …`) + member;
    case "basic":
      return injection.username === undefined
        ? `${code("Authorization: Basic …")} of ${code("user:password")}${member}`
        : `${code("Authorization: Basic …")} of ${code(`${injection.username}:…`)}${member}`;
    case "query":
      return `parameter ${code(`${injection.name}=…`)}${member}`;
    case "placeholder":
      return `the placeholder swapped in: ${injection.in.map(placeText).join(", ")}${member}`;
    case "header":
      return code(`${injection.name}: ${injection.format.replace("{secret}", "…")}`) + member;
    default:
      throw new TypeError(`${preset.name}: say here how ${(injection as { kind: string }).kind} is written`);
  }
};

const stored = ({ secret }: Preset): string => {
  if (secret === undefined) return "";
  return typeof secret === "string" ? code(secret) : code(JSON.stringify(secret));
};

const row = (preset: Preset): readonly string[] => [
  code(preset.name),
  `[${preset.title}](${preset.documentation})`,
  preset.match
    .map((pattern) => {
      const path = pattern.text.replace(/^[^/]*\/\/[^/]*/, "").replace(/^\/\*\*$/, "");
      return code(formatHostPattern(pattern).replace(/:443$/, "") + path);
    })
    .join(", "),
  preset.inject.map((one) => sent(one, preset)).join("; "),
  preset.env.map(code).join(", "),
  Object.entries(preset.base_url)
    .map(([name, path]) => code(`${name}=…/ROUTE${path}`))
    .join(", "),
];

export const renderPresetReference = (presets: readonly Preset[]): string => `# Presets

<!-- Made from config/presets by test/unit/sidecar/app/config/presets.test.ts. To renew it: npm test -- --project unit presets -u -->

A preset knows how one provider's API takes its credential: the hosts, the header, the variables that its SDKs read, and what a key
looks like, since some SDKs check. Each is a file in [config/presets](../config/presets), with a link to the page of the vendor that says so.

\`\`\`yaml
version: 1
routes:
  api.anthropic.com: production/anthropic/api-key # a host that a preset is for: sent as x-api-key
  openai: { preset: openai, secret: production/openai/api-key } # by name: every host of it
  github:
    preset: github
    match: GET https://api.github.com/repos/acme/** # a key that is written beats the preset's
    secret: production/github/token
    env: GITHUB_TOKEN
\`\`\`

- \`HOST: REF\`, and a route whose key is a host and that has no \`match\`, take the preset for that host where there is one. It is then for that
  host alone, any path of it.
- \`preset: NAME\` brings \`match\`, \`inject\`, \`env\` and the shape of the placeholder. Each key that the route writes takes the place of the
  preset's; for a server of your own: \`{ preset: gitlab, match: "https://gitlab.corp.example/api/**", … }\`.
- Every variable of the preset is set to the route's placeholder, by \`sidekey run\` and \`sidekey env\`. With \`env\` in the route it is that one alone.
- Behind the gateway a client takes its base URL from the variable in the last column, where there is one: \`…\` is the gateway's address. \`sidekey env --gateway\`
  prints them.
- \`sidekey explain\` names the preset of a route, and what it sends.

${table(["preset", "for", "hosts", "sends", "variables", "base URL"], presets.map(row))}

What is stored is the key alone, but for these, where it is made of several things:

${table(
  ["preset", "secret"],
  presets.filter(({ secret }) => secret !== undefined).map((preset) => [code(preset.name), stored(preset)]),
)}
`;
