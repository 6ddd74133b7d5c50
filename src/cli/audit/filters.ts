/** The options of `audit search` as a filter. A filter that can match nothing is refused, so that "nothing" means nothing. */
import type { SearchFilter, TextTest } from "../../audit/index.ts";
import type { EpochMs } from "../../core/clock.ts";
import { ERROR_TABLE, SidekeyError } from "../../core/errors.ts";
import { parseDuration } from "../../core/units.ts";
import type { OptionSpec, Options } from "../command.ts";

export const FILTER_OPTIONS: readonly OptionSpec[] = [
  { flags: "--since <when>", summary: "from then on: 15m, 2d, or 2026-11-25T09:00:00Z" },
  { flags: "--until <when>", summary: "before then" },
  { flags: "--agent <name>", summary: "name, or the beginning of one and *" },
  { flags: "--event <name>", summary: "of a vault, like secret.read, or all of a kind: 'secret.*'" },
  { flags: "--actor <id>", summary: "id of the agent, token or sidecar that did it, or the beginning of one and *" },
  { flags: "--route <name>", summary: "the same" },
  { flags: "--secret <reference>", summary: "the same; with or without its source" },
  { flags: "--decision <decision>", summary: "what the policy said", choices: ["inject", "tunnel", "deny"] },
  { flags: "--code <code>", summary: "of docs/errors.md, or the beginning of one and *" },
  { flags: "--status <status>", summary: "what the agent got: 503, or 5xx" },
  {
    flags: "--type <type>",
    summary: "only records of this type",
    choices: ["start", "intent", "outcome", "refusal", "admin", "secret", "token", "stop"],
  },
  { flags: "--request <id>", summary: "all about one request" },
  { flags: "--limit <n>", summary: "only the last n" },
];

export interface SearchRequest {
  readonly filter: SearchFilter;
  readonly limit: number | undefined;
}

/**
 * @param now epoch, `ms`
 * Errors: CONFIG_USAGE.
 */
export const readFilter = (options: Options, now: number): SearchRequest => {
  const { since, until } = readBounds(options, now);
  const fields = {
    ...field("agent", options.text("agent"), beginsWith),
    ...field("event", options.text("event"), beginsWith),
    ...field("actor", options.text("actor"), beginsWith),
    ...field("route", options.text("route"), beginsWith),
    ...field("secret", options.text("secret"), reference),
    ...field("decision", options.text("decision"), beginsWith),
    ...field("code", options.text("code"), errorCode),
    ...field("status", options.text("status"), httpStatus),
  };
  return {
    filter: { since, until, type: options.text("type"), requestId: options.text("request"), fields },
    limit: readLimit(options.text("limit")),
  };
};

const field = (name: string, text: string | undefined, test: (text: string) => TextTest) =>
  text === undefined ? {} : { [name]: test(text) };

const usage = (detail: string, hint = "Run: sidekey audit search --help"): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", { detail, hint });

/** RFC 3339 section 5.6: a date, or a date and a time with its offset. */
const INSTANT = /^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2}))?$/;

const readBounds = (options: Options, now: number): { since: string | undefined; until: string | undefined } => {
  const since = readTime("since", options, now);
  const until = readTime("until", options, now);
  if (since !== undefined && until !== undefined && since >= until)
    throw usage("--since is not before --until, so nothing lies between them.");
  return { since, until };
};

/** The same two as times. Errors: CONFIG_USAGE. */
export const readSpan = (options: Options, now: number): { since?: EpochMs; until?: EpochMs } => {
  const { since, until } = readBounds(options, now);
  return {
    ...(since !== undefined && { since: Date.parse(since) }),
    ...(until !== undefined && { until: Date.parse(until) }),
  };
};

const readTime = (name: "since" | "until", options: Options, now: number): string | undefined => {
  const text = options.text(name);
  if (text === undefined) return undefined;
  const ago = parseDuration(text);
  const at = ago !== undefined ? now - ago : INSTANT.test(text) ? Date.parse(text.toUpperCase()) : Number.NaN;
  // Outside the years that ISO 8601 writes with four digits text order is not time order.
  if (at >= 0 && at < Date.UTC(10_000, 0)) return new Date(at).toISOString();
  throw usage(`--${name} takes a duration, meaning that long ago (15m, 2d), or a time as in 2026-11-25T09:00:00Z.`);
};

const beginsWith = (text: string): TextTest => {
  if (!text.endsWith("*")) return (value) => value === text;
  const start = text.slice(0, -1);
  return (value) => value !== "" && value.startsWith(start);
};

/** Records hold `source:path`, several with commas where a route has several; people may leave the source away. */
const reference = (text: string): TextTest => {
  const test = beginsWith(text);
  const isOne = (value: string): boolean => test(value) || test(value.slice(value.indexOf(":") + 1));
  return (value) => isOne(value) || (value.includes(",") && value.split(",").some(isOne));
};

const errorCode = (text: string): TextTest => {
  const test = beginsWith(text.toUpperCase());
  if (!Object.keys(ERROR_TABLE).some(test)) throw usage(`There is no code '${text}'.`, "See docs/errors.md for all.");
  return test;
};

const httpStatus = (text: string): TextTest => {
  const [, kind] = /^([1-5])xx$/i.exec(text) ?? [];
  if (kind !== undefined) return (value) => value.startsWith(kind);
  if (!/^[1-5][0-9]{2}$/.test(text)) throw usage("--status takes a status like 503, or a class like 5xx.");
  return (value) => value === text;
};

const readLimit = (text: string | undefined): number | undefined => {
  if (text === undefined) return undefined;
  if (/^[1-9][0-9]{0,5}$/.test(text)) return Number(text);
  throw usage("--limit takes a whole number from 1 to 999999.");
};
