/** docs/clients.md, made from the table of real clients. */
import { BY_BASE_URL, type Client } from "../../e2e/clients/table.ts";
import { table } from "./markdown.ts";

/** By the client's name. */
export type Versions = Readonly<Record<string, string>>;

export const renderClientReference = (clients: readonly Client[], versions: Versions): string => `# Clients

<!-- Made from test/e2e/clients/table.ts by test/e2e/real-clients.test.ts. To renew it, versions too: npm test -- --project e2e real-clients -u -->

Each of these runs behind \`sidekey run\` in [the end-to-end suite](../test/e2e/real-clients.test.ts), against an upstream on this machine that
answers nothing without the key, and that sends back what it was sent. Its program is in
[test/e2e/clients](../test/e2e/clients), and knows nothing of Sidekey. The upstream gets the key, nothing that the program prints or gets
holds it, and each event of a stream has to arrive before the next is sent.

${table(
  ["client", "version", "what it does", "what it needs besides `sidekey run`"],
  clients.map(({ name, does, needs = "nothing" }) => [name, versions[name] ?? "", does, needs]),
)}

The versions are those of the machine that renewed this page; another machine runs the suite with its own.

- **AWS**: requests are signed with the key instead of carrying it, which Sidekey cannot do in this version. The AWS CLI without
  credentials says so itself, and what it sends unsigned is refused (403 \`POLICY_NO_ROUTE\`) like any call that no route names.
- **Node before 22.21** reads no proxy variable. \`run\` preloads a file that gives its built-in \`fetch\` one, and with it every SDK that
  uses \`fetch\`. Clients of \`node:https\` bring their own support (axios) or need an agent (got). Node 22.21 and 24.5 do all of it.
- **By a base URL** of the gateway of \`sidekey start\` (\`http://127.0.0.1:7071/ROUTE\`, or \`OPENAI_BASE_URL\` and \`ANTHROPIC_BASE_URL\`), without a proxy, a
  CA or a setting, the suite also runs ${BY_BASE_URL.join(", ")}.
- **What \`run\` sets** for other programs: \`DENO_CERT\`, \`CARGO_HTTP_CAINFO\`, \`AWS_CA_BUNDLE\` and the rest of
  [the table](configuration.md). A client that reads neither a proxy nor a CA variable needs the gateway.
- **Certificate pinning and HTTP/3** cannot work through a proxy that reads requests.
`;

/** What the page says now. */
export const readVersions = (text: string): Versions =>
  Object.fromEntries(
    [...text.matchAll(/^\| ([^|]+?) +\| ([\d.]+) +\|/gm)].map(([, name = "", version = ""]) => [name, version]),
  );
