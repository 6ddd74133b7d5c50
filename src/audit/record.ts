/**
 * What an audit record says, and its spelling as one line of JSON with the keys of interface.md section 9 in their
 * order. Runs twice a request, so lines are put together by hand. It must never let text from an agent, a route or an
 * upstream end the line, reach a terminal as a control, or grow without bound: lines are printable ASCII only.
 */
import type { EpochMs } from "../core/clock.ts";
import type { ErrorCode } from "../core/errors.ts";

export type AuditType = "start" | "intent" | "outcome" | "refusal" | "admin" | "secret" | "token" | "stop";

/** Absent and `undefined` are the same: left out of the line. Text longer than its cap is cut there. */
export interface AuditEvent<Type extends AuditType = AuditType> {
  readonly type: Type;
  /** What happened, in the words of Agent Secret Store: `secret.read`. A request of a sidecar has none. */
  readonly event?: string | undefined;
  /** One per request, shared by its records. */
  readonly requestId?: string | undefined;
  /** 1 or absent; 2 for the one repeat after a 401. */
  readonly attempt?: number | undefined;
  readonly agent?: string | undefined;
  /** Id of who did it: agent, token, sidecar. Stored only beside `event`, as are the next three and `metadata`. */
  readonly actor?: string | undefined;
  readonly actorType?: string | undefined;
  /** Address the caller came from. */
  readonly ip?: string | undefined;
  /** Who the caller says it acts for; nothing vouches for it. */
  readonly agentName?: string | undefined;
  readonly route?: string | undefined;
  /** Canonical reference text, never a value; several with commas. */
  readonly secret?: string | undefined;
  /** The source's word for the secret's version; several with commas, in the order of `secret`. */
  readonly version?: string | undefined;
  readonly method?: string | undefined;
  readonly scheme?: "http" | "https" | undefined;
  readonly authority?: string | undefined;
  /** Canonical path, without query. */
  readonly path?: string | undefined;
  readonly decision?: "inject" | "tunnel" | "deny" | undefined;
  readonly code?: ErrorCode | undefined;
  /** HTTP status the agent got. */
  readonly status?: number | undefined;
  /** Body `bytes` from the agent. */
  readonly bytesUp?: number | undefined;
  /** Body `bytes` from the upstream. */
  readonly bytesDown?: number | undefined;
  /** Durations in `ms`, written to the microsecond. */
  readonly ms?: AuditDurations | undefined;
  /** How often the credential was found in the answer. */
  readonly reflected?: number | undefined;
  /** How many refusals this record stands for, beside those in full. */
  readonly count?: number | undefined;
  readonly outcome?: "ok" | "client_aborted" | "upstream_aborted" | "refused" | undefined;
  readonly reason?: string | undefined;
  /** JSON text, stored as a string, so that nothing in it can pass for a member of the record. */
  readonly metadata?: string | undefined;
}

export interface AuditDurations {
  readonly total?: number | undefined;
  /** Waiting for the secret source. */
  readonly source?: number | undefined;
  /** From the first byte sent up to the first byte back. */
  readonly upstream?: number | undefined;
}

/** Most UTF-16 code units kept of a text. */
export const TEXT_CAPS = {
  name: 256,
  secret: 1024,
  method: 64,
  authority: 320,
  path: 2048,
  reason: 256,
  metadata: 1024,
} as const;

const PLAIN = /^[ !#-[\]-~]*$/;
const NOT_PRINTABLE = /[^ -~]/g;
const escapeUnit = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** A JSON string in printable ASCII: newlines, ANSI and C1 controls, bidi marks and lone surrogates become `\uXXXX`. */
const quote = (text: string, cap: number): string => {
  const cut = text.length > cap ? text.slice(0, cap) : text;
  return PLAIN.test(cut) ? `"${cut}"` : JSON.stringify(cut).replace(NOT_PRINTABLE, escapeUnit);
};

/** How a text becomes a JSON string, cut to `cap` units. */
export type Quote = (text: string, cap: number) => string;

/** Longer ones are hardly said twice. */
const KNOWN_LENGTH = 64;
const MAX_KNOWN = 512;

/** The same, for texts that come again and again: names, methods, authorities. Keeps a few hundred of them. */
export const createQuoteMemo = (): Quote => {
  const known = new Map<string, string>();
  return (text, cap) => {
    // Below every cap, so that one answer serves for all of them.
    if (text.length > KNOWN_LENGTH) return quote(text, cap);
    let quoted = known.get(text);
    if (quoted === undefined) {
      quoted = quote(text, cap);
      // An agent chooses what it asks for.
      if (known.size >= MAX_KNOWN) known.clear();
      known.set(text, quoted);
    }
    return quoted;
  };
};

/** By thousandths: `.007`, `.05`, and nothing for none. The shortest spelling of a number is slow to find. */
const THOUSANDTHS = Array.from({ length: 1000 }, (_, i) => String(i / 1000).slice(1));

/** Milliseconds to the microsecond, spelled as JSON spells that number. */
const duration = (ms: number): string => {
  const microseconds = Math.round(ms * 1000);
  if (!(microseconds >= 0 && microseconds <= Number.MAX_SAFE_INTEGER)) return String(microseconds / 1000);
  const whole = Math.floor(microseconds / 1000);
  return whole + (THOUSANDTHS[microseconds - whole * 1000] as string);
};

const encodeDurations = ({ total, source, upstream }: AuditDurations): string => {
  let inner = "";
  if (isNumber(total)) inner = `"total":${duration(total)}`;
  if (isNumber(source)) inner += `${inner === "" ? "" : ","}"source":${duration(source)}`;
  if (isNumber(upstream)) inner += `${inner === "" ? "" : ","}"upstream":${duration(upstream)}`;
  return `{${inner}}`;
};

/** NaN and the infinities have no JSON spelling: left out like absent values. */
const isNumber = (value: number | undefined): value is number => value !== undefined && Number.isFinite(value);

/** For whom and where to, from `agent` to `authority`: the same in most records of a route. */
const encodeWhose = (event: AuditEvent, quoteName: Quote): string => {
  let part = "";
  if (event.agent !== undefined) part = `,"agent":${quoteName(event.agent, TEXT_CAPS.name)}`;
  if (event.event !== undefined) part += encodeActor(event, quoteName);
  if (event.route !== undefined) part += `,"route":${quoteName(event.route, TEXT_CAPS.name)}`;
  if (event.secret !== undefined) part += `,"secret":${quote(event.secret, TEXT_CAPS.secret)}`;
  if (event.version !== undefined) part += `,"version":${quoteName(event.version, TEXT_CAPS.name)}`;
  if (event.method !== undefined) part += `,"method":${quoteName(event.method, TEXT_CAPS.method)}`;
  if (event.scheme !== undefined) part += `,"scheme":"${event.scheme}"`;
  if (event.authority !== undefined) part += `,"authority":${quoteName(event.authority, TEXT_CAPS.authority)}`;
  return part;
};

/** What of an event is spelled by `Phrases`. */
export interface Phrases {
  readonly quoteName: Quote;
  readonly whose: (event: AuditEvent) => string;
}

const PHRASES: Phrases = { quoteName: quote, whose: (event) => encodeWhose(event, quote) };

/** The same, with what was said before kept: names, and for each route what its last intent and its last outcome had. */
export const createPhrases = (): Phrases => {
  const quoteName = createQuoteMemo();
  const said: Partial<Record<AuditType, Map<string, { readonly event: AuditEvent; readonly text: string }>>> = {
    intent: new Map(),
    outcome: new Map(),
  };
  return {
    quoteName,
    whose(event) {
      const { type, route = "" } = event;
      const known = said[type];
      if (known === undefined) return encodeWhose(event, quoteName);
      const last = known.get(route);
      if (last !== undefined && isSameWhose(last.event, event)) return last.text;
      const text = encodeWhose(event, quoteName);
      // Routes come and go with the file.
      if (known.size >= MAX_KNOWN) known.clear();
      known.set(route, { event: whoseOf(event), text });
      return text;
    },
  };
};

const isSameWhose = (one: AuditEvent, other: AuditEvent): boolean =>
  one.agent === other.agent &&
  one.route === other.route &&
  one.secret === other.secret &&
  one.version === other.version &&
  one.method === other.method &&
  one.scheme === other.scheme &&
  one.authority === other.authority &&
  // Who asked a vault is said in between.
  one.event === undefined &&
  other.event === undefined;

/** Nothing else of it is kept: the rest is one request's own. */
const whoseOf = ({
  type,
  event,
  agent,
  route,
  secret,
  version,
  method,
  scheme,
  authority,
}: AuditEvent): AuditEvent => ({
  type,
  event,
  agent,
  route,
  secret,
  version,
  method,
  scheme,
  authority,
});

/**
 * The members from `time` to `metadata`, without braces: `"time":"…","type":"…",…`. The chain puts `seq` before them,
 * `prev` and `hash` after them.
 *
 * @param time ISO 8601, from `createTimestamp`
 */
export const encodeEvent = (event: AuditEvent, time: string, { quoteName, whose }: Phrases = PHRASES): string => {
  const { event: name } = event;
  let line = `"time":"${time}","type":"${event.type}"`;
  if (name !== undefined) line += `,"event":${quoteName(name, TEXT_CAPS.name)}`;
  if (event.requestId !== undefined) line += `,"request_id":${quote(event.requestId, TEXT_CAPS.name)}`;
  if (isNumber(event.attempt)) line += `,"attempt":${event.attempt}`;
  line += whose(event);
  if (event.path !== undefined) line += `,"path":${quote(event.path, TEXT_CAPS.path)}`;
  if (event.decision !== undefined) line += `,"decision":"${event.decision}"`;
  if (event.code !== undefined) line += `,"code":"${event.code}"`;
  if (isNumber(event.status)) line += `,"status":${event.status}`;
  if (isNumber(event.bytesUp)) line += `,"bytes_up":${event.bytesUp}`;
  if (isNumber(event.bytesDown)) line += `,"bytes_down":${event.bytesDown}`;
  if (event.ms !== undefined) line += `,"ms":${encodeDurations(event.ms)}`;
  if (isNumber(event.reflected)) line += `,"reflected":${event.reflected}`;
  if (isNumber(event.count)) line += `,"count":${event.count}`;
  if (event.outcome !== undefined) line += `,"outcome":"${event.outcome}"`;
  if (event.reason !== undefined) line += `,"reason":${quote(event.reason, TEXT_CAPS.reason)}`;
  if (name !== undefined && event.metadata !== undefined)
    line += `,"metadata":${quote(event.metadata, TEXT_CAPS.metadata)}`;
  return line;
};

const encodeActor = ({ actor, actorType, ip, agentName }: AuditEvent, quoteName: Quote): string => {
  let part = "";
  if (actor !== undefined) part = `,"actor":${quoteName(actor, TEXT_CAPS.name)}`;
  if (actorType !== undefined) part += `,"actor_type":${quoteName(actorType, TEXT_CAPS.name)}`;
  if (ip !== undefined) part += `,"ip":${quoteName(ip, TEXT_CAPS.name)}`;
  if (agentName !== undefined) part += `,"agent_name":${quoteName(agentName, TEXT_CAPS.name)}`;
  return part;
};

/** ISO 8601 in UTC with milliseconds; the text is kept while the millisecond lasts. */
export const createTimestamp = (now: () => EpochMs): (() => string) => {
  let last = Number.NaN;
  let text = "";
  return () => {
    const at = now();
    if (at !== last) {
      last = at;
      text = new Date(at).toISOString();
    }
    return text;
  };
};
