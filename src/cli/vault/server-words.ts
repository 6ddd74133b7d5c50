/**
 * What a vault server refuses, in the words of the command that was typed: the server speaks to programs, of paths and of
 * /v1/openapi.json. Codes stay as they are, and nothing that could be a key is repeated.
 */
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";

export interface Typed {
  /** `token revoke` */
  readonly command: string;
  /** Its first argument. */
  readonly named: string | undefined;
  /** As it was given; it was good enough to be called. */
  readonly address: string;
  /** `the file operator.key` */
  readonly keyFrom: string;
}

/** What is not a failure of a call stays as it is. */
export const inWordsOf = (typed: Typed, error: unknown): unknown => {
  if (!isSidekeyError(error)) return error;
  const words = wordsFor(typed, error);
  if (words === undefined) return error;
  const { code, detail, retryAfter } = error;
  return new SidekeyError(code, {
    cause: error,
    ...(detail !== undefined && { detail }),
    ...(retryAfter !== undefined && { retryAfter }),
    ...words,
  });
};

interface Words {
  readonly detail?: string;
  readonly hint: string;
}

/** Commands of these groups are for operators, whatever the server. */
const OPERATORS_OWN: ReadonlySet<string> = new Set(["agent", "approval", "audit"]);
const KINDS: Readonly<Record<string, string>> = {
  agent: "agent",
  approval: "approval",
  token: "token",
  sidecar: "sidecar",
};

const wordsFor = ({ command, named, address, keyFrom }: Typed, error: SidekeyError): Words | undefined => {
  const { code } = error;
  const [group = ""] = command.split(" ");
  const at = `--vault ${address}`;
  switch (code) {
    case "CLIENT_UNAUTHORIZED":
      return {
        detail: `It is from ${keyFrom}.`,
        hint: "It may be expired or revoked, or belong to another vault; an operator sees: sidekey agent list, sidekey token list.",
      };
    case "CLIENT_SCOPE_DENIED":
      return OPERATORS_OWN.has(group)
        ? {
            detail: `'sidekey ${command}' is for operators.`,
            hint: `Give an operator's key; this one is from ${keyFrom}.`,
          }
        : {
            hint: `The key is from ${keyFrom}. Use one whose scope covers it; an operator sees them with: sidekey agent list, sidekey token list.`,
          };
    case "CLIENT_SECRET_MISSING":
      return { hint: `sidekey secret list ${at} shows what there is, and sidekey secret history PATH its versions.` };
    case "CLIENT_NOT_FOUND": {
      const kind = command === "token issue" ? "agent" : KINDS[group];
      if (kind === undefined) return undefined;
      const name = command === "token issue" ? undefined : shown(named);
      const detail = `There is no such ${kind}${name === undefined ? "" : `: ${name}`}.`;
      const all = kind === "approval" ? " --status all" : "";
      return { detail, hint: `sidekey ${kind} list${all} ${at} shows what there is.` };
    }
    case "CLIENT_CONFLICT":
      if (group === "approval") {
        return {
          detail: "It was decided already, or its time is over.",
          hint: `sidekey approval list --status all ${at} shows what became of it.`,
        };
      }
      if (command === "agent create") {
        return { detail: `The name is taken${named === undefined ? "" : `: ${named}`}.`, hint: "Take another name." };
      }
      return undefined;
    case "CLIENT_REFUSED":
      // The client's own hints are for people.
      if (!error.hint.includes("openapi.json")) return undefined;
      return { hint: `Mend what is named; see: sidekey ${command} --help` };
    case "CLIENT_APPROVAL_REQUIRED":
      return {
        hint: `An operator decides with: sidekey approval approve ${approvalOf(error)} ${at}. Then the same command again.`,
      };
    default:
      return undefined;
  }
};

const approvalOf = (error: SidekeyError): string =>
  "approvalId" in error && typeof error.approvalId === "string" && /^[\w-]{1,64}$/.test(error.approvalId)
    ? error.approvalId
    : "ID";

/** Somebody may have typed a key in place of a name. */
const shown = (named: string | undefined): string | undefined =>
  named !== undefined && /^[A-Za-z0-9._-]{1,64}$/.test(named) && !/^(?:ask_|ast_)/.test(named) ? named : undefined;
