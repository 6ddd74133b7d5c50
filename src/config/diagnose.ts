/**
 * What zod found, in the words of the file: every issue becomes a finding with a path, a sentence and, where a known
 * word is near, a "did you mean". Reads values only to compare them with known words; none gets into a message.
 */
import type { z } from "zod";
import type { Finding, KeyPath } from "./problem.ts";
import { nearest } from "./suggest.ts";

export interface Diagnosis {
  readonly schema: z.ZodType;
  /** What was parsed. */
  readonly value: unknown;
  /** For keys and kinds the reference knows and this version does not build: the finding, instead of "unknown". */
  later(path: KeyPath, value: unknown): Finding | undefined;
}

/** In one map; nobody reads more. */
const MAX_UNKNOWN = 100;

type Issue = z.core.$ZodIssue;

export const diagnose = (issues: readonly Issue[], diagnosis: Diagnosis): Finding[] =>
  issues.flatMap((issue) => explain(issue, [], diagnosis));

/** `base` is where a nested issue's own path begins. */
const explain = (issue: Issue, base: KeyPath, diagnosis: Diagnosis): Finding[] => {
  const path = [...base, ...issue.path.map(toPart)];
  const written = valueAt(diagnosis.value, path);
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(diagnosis.schema, path, diagnosis.value);
    return issue.keys.slice(0, MAX_UNKNOWN).map((key) => {
      const place = [...path, key];
      return diagnosis.later(place, valueAt(diagnosis.value, place)) ?? unknownKey(place, key, known);
    });
  }
  const later = diagnosis.later(path, written);
  if (later !== undefined) return [later];
  const own = ownWords(issue);
  if (own !== undefined) return [finding(path, own.message, own.hint)];
  switch (issue.code) {
    case "invalid_type":
      return [mismatch(path, written, [typeWord(issue.expected)])];
    case "invalid_value":
      return [notOneOf(path, written, issue.values.map(String))];
    case "invalid_union":
      return union(issue, path, written, diagnosis);
    case "invalid_key":
      return issue.issues.slice(0, 1).map((inner) => finding(path, ownWords(inner)?.message ?? "is not a valid name"));
    case "too_small":
      return [finding(path, `must ${measured(issue.origin, "at least", issue.minimum)}`)];
    case "too_big":
      return [finding(path, `must ${measured(issue.origin, "at most", issue.maximum)}`)];
    default:
      return [finding(path, "does not have the right form")];
  }
};

const finding = (path: KeyPath, message: string, hint?: string): Finding =>
  hint === undefined ? { path, message } : { path, message, hint };

const unknownKey = (place: KeyPath, key: string, known: readonly string[]): Finding => {
  const meant = nearest(key, known);
  if (meant !== undefined) return finding(place, "is not a known key", `Did you mean '${meant}'?`);
  return finding(place, "is not a known key", known.length === 0 ? undefined : `Known here: ${known.join(", ")}.`);
};

const notOneOf = (path: KeyPath, written: unknown, known: readonly string[]): Finding => {
  const message = known.length === 1 ? `must be ${known[0]}` : `must be one of: ${known.join(", ")}`;
  if (written === undefined) return finding(path, "is missing", `It ${message}.`);
  const meant = typeof written === "string" ? nearest(written, known) : undefined;
  return finding(path, message, meant === undefined ? undefined : `Did you mean '${meant}'?`);
};

type UnionIssue = Extract<Issue, { readonly code: "invalid_union" }>;

/** The branch that the value was meant for: the one whose outermost type fits. */
const union = (issue: UnionIssue, path: KeyPath, written: unknown, diagnosis: Diagnosis): Finding[] => {
  if ("options" in issue && Array.isArray(issue.options)) return [notOneOf(path, written, issue.options.map(String))];
  const fitting = issue.errors.find((branch) => !branch.some(isOutermostMismatch));
  if (fitting !== undefined) return fitting.flatMap((inner) => explain(inner, path, diagnosis));
  const words = issue.errors.flatMap((branch) =>
    branch.flatMap((inner) => (inner.code === "invalid_type" ? [typeWord(inner.expected)] : [])),
  );
  return [mismatch(path, written, words)];
};

const isOutermostMismatch = (issue: Issue): boolean =>
  issue.path.length === 0 && (issue.code === "invalid_type" || issue.code === "invalid_value");

const mismatch = (path: KeyPath, written: unknown, words: readonly string[]): Finding => {
  const wanted = [...new Set(words)].join(" or ");
  if (path.length === 0 && (written === undefined || written === null)) return finding(path, "the file is empty");
  if (written === undefined) return finding(path, "is missing", `It must be ${wanted}.`);
  if (written === null) return finding(path, `is empty; it must be ${wanted}`, "Give it a value, or remove the key.");
  const isBare = typeof written === "number" || typeof written === "boolean";
  const hint = isBare && words.includes("text") ? "Put it in quotes to make it text." : undefined;
  return finding(path, `must be ${wanted}, and is ${writtenWord(written)}`, hint);
};

const typeWord = (expected: string): string => {
  switch (expected) {
    case "string":
      return "text";
    case "object":
    case "record":
      return "a map";
    case "array":
      return "a list";
    case "int":
      return "a whole number";
    case "number":
      return "a number";
    case "boolean":
      return "true or false";
    default:
      return "of another type";
  }
};

const writtenWord = (value: unknown): string => {
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "a map" : typeWord(typeof value);
};

const measured = (origin: string, bound: string, limit: number | bigint): string => {
  if (origin === "string") return `have ${bound} ${limit} characters`;
  if (origin === "array" || origin === "set") return `hold ${bound} ${limit} ${limit === 1 ? "entry" : "entries"}`;
  return `be ${bound} ${limit}`;
};

/** A message that a schema of ours wrote, told from zod's own by how those begin. */
const ownWords = (issue: Issue): { readonly message: string; readonly hint?: string } | undefined => {
  if (/^(?:Invalid|Too (?:big|small)|Unrecognized)\b/.test(issue.message)) return undefined;
  const hint: unknown = issue.code === "custom" ? issue.params?.["hint"] : undefined;
  return typeof hint === "string" ? { message: issue.message, hint } : { message: issue.message };
};

const toPart = (part: PropertyKey): string | number => (typeof part === "symbol" ? String(part) : part);

const valueAt = (value: unknown, path: KeyPath): unknown => {
  let at = value;
  for (const part of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Readonly<Record<string | number, unknown>>)[part];
  }
  return at;
};

/** Keys that the schema knows for the map at `path`. */
const knownKeys = (schema: z.core.$ZodType, path: KeyPath, value: unknown): string[] => {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  const [part, ...rest] = path;
  switch (def.type) {
    case "object": {
      if (part === undefined) return Object.keys(def.shape);
      const next = def.shape[part];
      return next === undefined ? [] : knownKeys(next, rest, valueAt(value, [part]));
    }
    case "record":
      return part === undefined ? [] : knownKeys(def.valueType, rest, valueAt(value, [part]));
    case "array":
      return part === undefined ? [] : knownKeys(def.element, rest, valueAt(value, [part]));
    case "union":
      return def.options
        .filter((option) => fitsKind(option, value))
        .flatMap((option) => knownKeys(option, path, value));
    case "optional":
    case "default":
    case "prefault":
    case "readonly":
      return knownKeys(def.innerType, path, value);
    case "pipe":
      return knownKeys(def.in, path, value);
    default:
      return [];
  }
};

/** Whether an option of a union on `kind` is the one that the value names. */
const fitsKind = (option: z.core.$ZodType, value: unknown): boolean => {
  const { def } = (option as z.core.$ZodTypes)._zod;
  const kind = def.type === "object" ? (def.shape["kind"] as z.core.$ZodTypes | undefined)?._zod.def : undefined;
  return kind?.type !== "literal" || kind.values.some((known) => known === valueAt(value, ["kind"]));
};
