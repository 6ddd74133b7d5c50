/** What the vault in memory holds, and what all of its calls have in common. */
import { createHash, randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";

export interface Version {
  readonly value: string;
  readonly at: number;
  until?: number;
}
export interface Secret {
  readonly id: string;
  readonly versions: Version[];
  traits: Record<string, unknown>;
}
export interface Agent {
  readonly id: string;
  readonly name: string;
  readonly key: string;
  readonly operator: boolean;
  scopes: readonly string[];
  description?: string | undefined;
  readonly place: string | undefined;
  reads: string;
  active: boolean;
}
export interface Token {
  readonly id: string;
  readonly text: string;
  readonly agent: Agent;
  readonly scopes: readonly string[];
  readonly jkt: string | undefined;
  readonly issued: number;
  readonly expires: number;
  readonly maxUses: number | undefined;
  readonly reads: string;
  uses: number;
  revoked?: number;
}
export interface Approval {
  readonly id: string;
  readonly agent: Agent;
  readonly terms: string;
  readonly scopes: readonly string[];
  readonly reason: string | undefined;
  status: string;
  used: boolean;
  decision?: string;
}
export interface Sidecar {
  readonly id: string;
  readonly name: string;
  readonly jkt: string;
  readonly agent: Agent;
  revoked?: number;
}
export type Body = Record<string, unknown>;
export interface Caller {
  readonly agent: Agent;
  readonly token: Token | undefined;
  readonly jkt: string | undefined;
}
export interface Ask {
  readonly method: string;
  readonly url: URL;
  readonly request: IncomingMessage;
  readonly body: Body;
}

export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Record<string, string>;
  constructor(status: number, code: string, headers: Record<string, string> = {}) {
    super(code);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

export const covers = (scopes: readonly string[], action: string, path: string): boolean =>
  scopes.some((scope) => {
    const [, allowed = "", glob = ""] = scope.split(":");
    if (allowed !== action && (allowed !== "*" || action === "use")) return false;
    const pattern = glob.split("*").map((piece) => piece.replace(/[.]/g, "\\."));
    return new RegExp(`^${pattern.join(".*")}$`).test(path);
  });

export const iso = (at: number): string => new Date(at).toISOString();
export const texts = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : []);
export const optionalText = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

export const paged = (url: URL, items: readonly Body[], member = "items"): Body => {
  const limit = Number(url.searchParams.get("limit") ?? 100);
  const page = Number(url.searchParams.get("page") ?? 1);
  return { [member]: items.slice((page - 1) * limit, page * limit), total: items.length, page, limit };
};

export interface State {
  readonly secrets: Map<string, Secret>;
  readonly agents: Agent[];
  readonly tokens: Token[];
  readonly approvals: Approval[];
  readonly sidecars: Sidecar[];
  readonly audit: Body[];
  readonly streams: Map<ServerResponse, Caller>;
  /** By what stands for it. */
  readonly placeholders: Map<string, { readonly path: string; readonly agent: Agent }>;
  readonly operator: Agent;
  /** Of the newest change. */
  generation(): number;
  addAgent(name: string, operator: boolean, scopes: readonly string[], more?: Body): Agent;
  record(event: string, caller: Caller | undefined, resource: string): void;
  change(type: string, data: Body): void;
  allow(caller: Caller, action: string, path: string): void;
}

export const createState = (): State => {
  const secrets = new Map<string, Secret>();
  const agents: Agent[] = [];
  const tokens: Token[] = [];
  const approvals: Approval[] = [];
  const sidecars: Sidecar[] = [];
  const audit: Body[] = [];
  const streams = new Map<ServerResponse, Caller>();
  const placeholders = new Map<string, { readonly path: string; readonly agent: Agent }>();
  let generation = 0;

  const addAgent = (name: string, operator: boolean, scopes: readonly string[], more: Body = {}): Agent => {
    const key = `${operator ? "ask_op_" : "ast_agent_"}${createHash("sha256").update(randomUUID()).digest("base64url")}`;
    const agent = {
      id: randomUUID(),
      name,
      key,
      operator,
      scopes,
      place: optionalText(more["place"]),
      reads: optionalText(more["reads"]) ?? "value",
      active: true,
    };
    agents.push(agent);
    return agent;
  };
  const record = (event: string, caller: Caller | undefined, resource: string): void => {
    audit.unshift({
      id: String(audit.length + 1),
      event_type: event,
      actor_id: caller?.agent.id ?? null,
      actor_type: caller?.token === undefined ? "agent" : "token",
      resource_type: event.split(".")[0],
      resource_id: resource,
      metadata: {},
      ip_address: "127.0.0.1",
      created_at: iso(Date.now()),
    });
  };

  const change = (type: string, data: Body): void => {
    generation += 1;
    for (const [response, caller] of streams) {
      if (typeof data["path"] === "string" && !covers(caller.token?.scopes ?? [], "use", data["path"])) continue;
      response.write(`id: ${generation}\nevent: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
    }
  };

  const allow = (caller: Caller, action: string, path: string): void => {
    if (!covers(caller.token?.scopes ?? caller.agent.scopes, action, path)) {
      record(`secret.${action}.denied`, caller, path);
      throw new Refusal(403, "SCOPE_DENIED");
    }
  };

  const operator = addAgent("operator", true, ["secrets:*:*", "secrets:use:*"]);
  return {
    secrets,
    agents,
    tokens,
    approvals,
    sidecars,
    audit,
    streams,
    placeholders,
    operator,
    generation: () => generation,
    addAgent,
    record,
    change,
    allow,
  };
};
