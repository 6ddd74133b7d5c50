/**
 * The grammar of a reference, `[SOURCE:]PATH[#FIELD][@VERSION]` (interface.md section 2). Where it is refused, the words
 * say why and never repeat the text: somebody may have pasted the secret itself.
 */
import { nearest } from "../../config/suggest.ts";
import type { SecretRef } from "./source.ts";

export interface ReferenceContext {
  /** Names of the declared sources. */
  readonly declared: readonly string[];
  readonly defaultSource: string;
  /** Kind of a declared source. */
  readonly kindOf: (source: string) => string | undefined;
}

export interface ReferenceProblem {
  readonly problem: string;
  readonly hint?: string;
}

export const isReferenceProblem = (value: SecretRef | ReferenceProblem): value is ReferenceProblem =>
  "problem" in value;

const MAX_LENGTH = 1024;
// biome-ignore lint/suspicious/noControlCharactersInRegex: controls are what is looked for
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;
const VAULT_SEGMENT = /^[A-Za-z0-9._-]{1,128}$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

export const parseReference = (text: string, context: ReferenceContext): SecretRef | ReferenceProblem => {
  if (text === "" || text.length > MAX_LENGTH) {
    return { problem: `a reference has 1 to ${MAX_LENGTH} characters`, hint: NOT_A_VALUE };
  }
  if (CONTROL.test(text)) return { problem: "a reference holds no control characters", hint: NOT_A_VALUE };
  const colon = text.indexOf(":");
  const source = colon === -1 ? context.defaultSource : text.slice(0, colon);
  if (!context.declared.includes(source)) {
    const declared = context.declared.join(", ");
    const meant = nearest(source, context.declared);
    return {
      problem: "the text before the first ':' is not a declared source",
      hint: `${meant === undefined ? "" : `Did you mean '${meant}:'? `}Declared: ${declared}. A path with a colon needs its source in front, like 'aws:arn:…'.`,
    };
  }
  const [, rawPath = "", rawField, version] = /^([^#@]*)(?:#([^@]*))?(?:@(.*))?$/s.exec(text.slice(colon + 1)) ?? [];
  const path = decodePath(rawPath);
  if (path === undefined) {
    return {
      problem: "'%' in a path begins an escape of two hex digits",
      hint: "Write '#', '@', '%' as %23, %40, %25.",
    };
  }
  const badPath = checkPath(path, context.kindOf(source));
  if (badPath !== undefined) return badPath;
  const field = rawField === undefined ? [] : rawField.split(".");
  if (field.includes("") || rawField?.includes("#") === true) {
    return { problem: "a member's name must follow '#', and each '.'", hint: "For example #data.token." };
  }
  if (version === "" || (version !== undefined && /[#@\s]/.test(version))) {
    return { problem: "a version must follow '@'", hint: "A literal '@' in a path is written %40." };
  }
  const canonical = `${source}:${encodePath(path)}${rawField === undefined ? "" : `#${rawField}`}`;
  return { source, path, field, version, text: version === undefined ? canonical : `${canonical}@${version}` };
};

const NOT_A_VALUE = "A secret is never written here, only where it is kept, like production/openai/api-key.";

/** What is known about paths before a source is asked. */
const checkPath = (path: string, kind: string | undefined): ReferenceProblem | undefined => {
  if (path === "" || CONTROL.test(path)) return { problem: "the path is empty or holds control characters" };
  const segments = path.split("/");
  switch (kind) {
    case "sidekey":
      // One alone is a name, which the vault looks for from the agent's place outwards.
      if (segments.every((one) => VAULT_SEGMENT.test(one) && !isDots(one))) return undefined;
      return { problem: "the path must be segments of letters, digits, '.', '_' or '-'", hint: NOT_A_VALUE };
    case "local":
      if (segments.length >= 2 && segments.every((one) => VAULT_SEGMENT.test(one) && !isDots(one))) return undefined;
      return {
        problem: "the path must be two or more segments of letters, digits, '.', '_' or '-'",
        hint: NOT_A_VALUE,
      };
    case "file":
      if (segments.every((one) => one !== "" && !isDots(one))) return undefined;
      return { problem: "the path must be below the source's root, without '..'" };
    case "exec":
      if (!path.startsWith("-")) return undefined;
      return { problem: "the path must not begin with '-': the program would take it for an option" };
    case "env":
      if (VARIABLE.test(path)) return undefined;
      return { problem: "the path must be a variable's name", hint: NOT_A_VALUE };
    default:
      return undefined;
  }
};

const isDots = (segment: string): boolean => segment === "." || segment === "..";

const decodePath = (raw: string): string | undefined => {
  try {
    return decodeURIComponent(raw);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
};

const encodePath = (path: string): string => path.replaceAll("%", "%25").replaceAll("#", "%23").replaceAll("@", "%40");
