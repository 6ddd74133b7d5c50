/** docs/errors.md, made from the code table: what the reference says of a code is what an agent or an operator is told. */
import { exitCodeOf } from "../../../src/cli/exit.ts";
import { ERROR_TABLE, type ErrorCode } from "../../../src/core/errors.ts";
import { cell, table } from "./markdown.ts";

/** In the table so that their meaning is fixed; what gives them comes with later versions. */
export const LATER_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["IDENTITY_REQUIRED"]);

const CODES = Object.keys(ERROR_TABLE) as ErrorCode[];

/** The table lists what an agent can get first, then what only the operator sees. */
const FIRST_OPERATOR_CODE = CODES.indexOf("CONFIG_INVALID");
const AGENT_CODES = CODES.slice(0, FIRST_OPERATOR_CODE);
const OPERATOR_CODES = CODES.slice(FIRST_OPERATOR_CODE);

const agentRow = (code: ErrorCode): readonly string[] => {
  const entry = ERROR_TABLE[code];
  const again = "retryAfter" in entry ? `; \`Retry-After: ${entry.retryAfter}\`` : "";
  return [`\`${code}\``, `${entry.status}${again}`, cell(entry.message), cell(entry.hint)];
};

const operatorRow = (code: ErrorCode): readonly string[] => {
  const { message, hint } = ERROR_TABLE[code];
  return [`\`${code}\``, String(exitCodeOf(code)), cell(message), cell(hint)];
};

export const renderErrorReference = (): string => `# Errors

<!-- Made from src/core/errors.ts by test/unit/errors.test.ts. To renew it: npm test -- --project unit errors -u -->

## What an agent can get

A refusal is a reply of Sidekey's own and never passes anything on: the status below, \`content-type: application/json\`,
\`x-sidekey-error: CODE\`, and a body of fixed text,
\`{"error":{"code","message","request_id","hint"}}\`. The header tells it from an answer of the destination: what an
upstream sends under the name \`x-sidekey-…\` is removed. The same request id stands in the audit.

${table(["code", "status", "message", "hint"], AGENT_CODES.filter((code) => !LATER_CODES.has(code)).map(agentRow))}

The table has these too, and nothing in this version gives them: ${[...LATER_CODES].map((code) => `\`${code}\``).join(", ")}.

## What only the operator sees

Printed by the command line on standard error as \`sidekey: CODE: …\` with the place and a hint. The number is the exit
code (\`run\` ends with 125 instead): 1 = failed, 2 = wrong usage or a wrong file. The codes above end a command with 1.

${table(["code", "exit", "message", "hint"], OPERATOR_CODES.map(operatorRow))}
`;
