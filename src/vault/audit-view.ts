/**
 * A record of the audit in the shape that Agent Secret Store's clients know. What a record of the log about itself is
 * (its start, its rotation) is an event as well: the numbers have no gaps.
 */
export interface AuditEventView {
  /** Its sequence number. */
  readonly id: string;
  /** `secret.read`; `log.start` and the like for records about the log. */
  readonly event_type: string;
  readonly actor_id: string | null;
  readonly actor_type: "human" | "agent" | "token" | "system" | "anonymous";
  readonly resource_type: string | null;
  readonly resource_id: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly ip_address: string | null;
  /** ISO 8601 */
  readonly created_at: string;
}

type Json = Readonly<Record<string, unknown>>;

const ACTOR_TYPES: Readonly<Record<string, AuditEventView["actor_type"]>> = {
  operator: "human",
  agent: "agent",
  token: "token",
  sidecar: "token",
  anonymous: "anonymous",
};

/** Members of a record that have no place of their own in the shape. */
const IN_METADATA = [
  "agent",
  "agent_name",
  "reason",
  "version",
  "authority",
  "code",
  "status",
  "outcome",
  "count",
  "request_id",
] as const;

/** Where an event's metadata names what it is about. */
const IDS: Readonly<Record<string, string>> = {
  token: "token_id",
  approval: "approval_id",
  agent: "agent_id",
  sidecar: "sidecar_id",
  key: "kid",
  answer: "first_request_id",
};

/** Undefined where the line is no record. */
export const viewOf = (line: string): AuditEventView | undefined => {
  const record = objectOf(line);
  if (record === undefined || typeof record["seq"] !== "number") return undefined;
  const event = textOf(record, "event");
  const own = objectOf(textOf(record, "metadata") ?? "{}") ?? {};
  const [resource = ""] = event?.split(".") ?? [];
  const secret = textOf(record, "secret");
  const id = secret ?? textOf(own, IDS[resource] ?? "");
  return {
    id: String(record["seq"]),
    event_type: event ?? `log.${textOf(record, "type") ?? "unknown"}`,
    actor_id: textOf(record, "actor") ?? null,
    actor_type: ACTOR_TYPES[textOf(record, "actor_type") ?? ""] ?? "system",
    resource_type: secret !== undefined ? "secret" : id !== undefined ? resource : null,
    resource_id: id ?? null,
    metadata: {
      ...own,
      ...Object.fromEntries(
        IN_METADATA.flatMap((name) => (record[name] === undefined ? [] : [[name, record[name]] as const])),
      ),
    },
    ip_address: textOf(record, "ip") ?? null,
    created_at: textOf(record, "time") ?? "",
  };
};

const textOf = (object: Json, name: string): string | undefined => {
  const value = object[name];
  return typeof value === "string" ? value : undefined;
};

const objectOf = (text: string): Json | undefined => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    // Not JSON is what `undefined` says.
    return undefined;
  }
};
