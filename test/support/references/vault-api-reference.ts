/** docs/vault-api.md, made from the calls themselves: what the reference says of one is what the server does. */
import type { Call } from "../../../src/vault/server/call.ts";
import type { ApiContext } from "../../../src/vault/server/context.ts";
import { createCalls } from "../../../src/vault/server/routes/index.ts";
import { WIRE_ERRORS } from "../../../src/vault/server/wire/error.ts";
import { cell, table } from "./markdown.ts";

/** Nothing is asked of it: the calls are looked at, not made. */
const context = { config: { audit: { path: "/none" }, limits: {} }, draining: () => true } as unknown as ApiContext;

export const calls: readonly Call[] = createCalls(context);

const WHO: Readonly<Record<string, string>> = {
  anyone: "anyone",
  operator: "operator",
  agent: "agent",
  token: "token",
};

const callRow = ({ method, path, who, summary, answers, errors }: Call): readonly string[] => [
  `\`${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}\``,
  who.map((one) => WHO[one] ?? one).join(", "),
  cell(summary),
  Object.keys(answers).join(", "),
  errors.map((code) => `\`${code}\``).join(" "),
];

export const renderVaultApi = (): string => `# The vault's API

<!-- Made from src/vault/server/routes by test/unit/vault/server/api-reference.test.ts. To renew it: npm test -- --project unit api-reference -u -->

How to run the server, and what holds for every call, is in [vault-server.md](vault-server.md). What each call takes and answers, field by
field, stands in the server's own OpenAPI 3.1 document: \`GET /v1/openapi.json\`.

## Calls

\`operator\` and \`agent\` are keys, \`token\` is a scoped token; each gets no further than its scopes. The errors are those that a call has beside
the ones that any call may give.

${table(["call", "who", "what it does", "answers", "errors"], calls.map(callRow))}

## Errors

\`{"error":{"code","message","request_id","hint"},"detail"}\`; programs look at \`code\`.

${table(
  ["code", "status", "message", "what to do"],
  Object.entries(WIRE_ERRORS).map(([code, { status, message, hint }]) => [
    `\`${code}\``,
    String(status),
    cell(message),
    cell(hint),
  ]),
)}
`;
