/**
 * A vault's API in memory, written by its description and sharing no code with the server: so that the client and the
 * commands are held against what was agreed on, and not against what the server happens to do. The same suite runs over
 * the real one (test/conformance/vault-client.test.ts). Approvals: a token that reaches a secret of tier `sensitive`.
 */
import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { calculateJwkThumbprint, compactVerify, importJWK, type JWK } from "jose";

export interface FakeVault {
  readonly address: string;
  readonly operatorKey: string;
  /** Asks for a nonce in proofs from now on. */
  demandNonce(): void;
  close(): Promise<void>;
}

export interface FakeOptions {
  /** PEM; then it is https. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Name in the address; default 127.0.0.1. */
  readonly host?: string;
}

interface Version {
  readonly value: string;
  readonly at: number;
  until?: number;
}
interface Secret {
  readonly id: string;
  readonly versions: Version[];
  traits: Record<string, unknown>;
}
interface Agent {
  readonly id: string;
  readonly name: string;
  readonly key: string;
  readonly operator: boolean;
  readonly scopes: readonly string[];
  active: boolean;
}
interface Token {
  readonly id: string;
  readonly text: string;
  readonly agent: Agent;
  readonly scopes: readonly string[];
  readonly jkt: string | undefined;
  readonly issued: number;
  readonly expires: number;
  readonly maxUses: number | undefined;
  uses: number;
  revoked?: number;
}
interface Approval {
  readonly id: string;
  readonly agent: Agent;
  readonly terms: string;
  readonly scopes: readonly string[];
  readonly reason: string | undefined;
  status: string;
  used: boolean;
  decision?: string;
}
interface Sidecar {
  readonly id: string;
  readonly name: string;
  readonly jkt: string;
  readonly agent: Agent;
}
type Body = Record<string, unknown>;
interface Caller {
  readonly agent: Agent;
  readonly token: Token | undefined;
  readonly jkt: string | undefined;
}
interface Ask {
  readonly method: string;
  readonly url: URL;
  readonly request: IncomingMessage;
  readonly body: Body;
}

class Refusal extends Error {
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

const covers = (scopes: readonly string[], action: string, path: string): boolean =>
  scopes.some((scope) => {
    const [, allowed = "", glob = ""] = scope.split(":");
    if (allowed !== action && (allowed !== "*" || action === "use")) return false;
    const pattern = glob.split("*").map((piece) => piece.replace(/[.]/g, "\\."));
    return new RegExp(`^${pattern.join(".*")}$`).test(path);
  });

const iso = (at: number): string => new Date(at).toISOString();
const texts = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : []);
const optionalText = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

export const startFakeVault = async ({ tls, host = "127.0.0.1" }: FakeOptions = {}): Promise<FakeVault> => {
  const secrets = new Map<string, Secret>();
  const agents: Agent[] = [];
  const tokens: Token[] = [];
  const approvals: Approval[] = [];
  const sidecars: Sidecar[] = [];
  const audit: Body[] = [];
  const streams = new Map<ServerResponse, Caller>();
  const proofs = new Set<string>();
  let generation = 0;
  let nonce: string | undefined;
  let origin = "";

  const addAgent = (name: string, operator: boolean, scopes: readonly string[]): Agent => {
    const key = `${operator ? "ask_op_" : "ast_agent_"}${createHash("sha256").update(randomUUID()).digest("base64url")}`;
    const agent = { id: randomUUID(), name, key, operator, scopes, active: true };
    agents.push(agent);
    return agent;
  };
  const operator = addAgent("operator", true, ["secrets:*:*", "secrets:use:*"]);

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

  const verifyProof = async ({ request, method, url }: Ask, token: string): Promise<string> => {
    const proof = String(request.headers["dpop"] ?? "");
    try {
      const { jwk } = JSON.parse(Buffer.from(proof.split(".")[0] ?? "", "base64url").toString()) as { jwk: JWK };
      const { payload } = await compactVerify(proof, await importJWK(jwk, "ES256"), { algorithms: ["ES256"] });
      const claims = JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>;
      const ath = createHash("sha256").update(token).digest("base64url");
      const isGood =
        claims["htm"] === method &&
        claims["htu"] === `${origin}${url.pathname}` &&
        claims["ath"] === ath &&
        !proofs.has(String(claims["jti"]));
      if (!isGood) throw new Error("bad");
      proofs.add(String(claims["jti"]));
      // RFC 9449 section 8: what the server gave out says when, whatever the other clock says.
      const isOff = Math.abs(Number(claims["iat"]) - Date.now() / 1000) > 60;
      if (isOff) nonce ??= `nonce-${randomUUID()}`;
      if (nonce !== undefined && claims["nonce"] !== nonce) {
        throw new Refusal(401, "USE_DPOP_NONCE", {
          "dpop-nonce": nonce,
          "www-authenticate": 'DPoP error="use_dpop_nonce"',
        });
      }
      return await calculateJwkThumbprint(jwk);
    } catch (error) {
      throw error instanceof Refusal ? error : new Refusal(401, "UNAUTHORIZED");
    }
  };

  const callerOf = async (ask: Ask): Promise<Caller> => {
    const [scheme, secret = ""] = String(ask.request.headers["authorization"] ?? "").split(" ");
    const agent = scheme === "Bearer" ? agents.find((one) => one.key === secret && one.active) : undefined;
    if (agent !== undefined) return { agent, token: undefined, jkt: undefined };
    const token = tokens.find((one) => one.text === secret);
    const isOver = token === undefined || token.revoked !== undefined || token.expires <= Date.now();
    if (isOver || !token.agent.active) throw new Refusal(401, "UNAUTHORIZED");
    const jkt = scheme === "DPoP" ? await verifyProof(ask, secret) : undefined;
    if (token.jkt !== undefined && token.jkt !== jkt) throw new Refusal(401, "UNAUTHORIZED");
    return { agent: token.agent, token, jkt };
  };

  const asOperator = ({ agent, token }: Caller): void => {
    if (!agent.operator || token !== undefined) throw new Refusal(403, "SCOPE_DENIED");
  };
  const allow = (caller: Caller, action: string, path: string): void => {
    if (!covers(caller.token?.scopes ?? caller.agent.scopes, action, path)) {
      record(`secret.${action}.denied`, caller, path);
      throw new Refusal(403, "SCOPE_DENIED");
    }
  };
  const find = (path: string): Secret => {
    const secret = secrets.get(path);
    if (secret === undefined) throw new Refusal(404, "SECRET_NOT_FOUND");
    return secret;
  };
  const versionOf = (secret: Secret, wanted: number): Version => {
    const version = secret.versions[wanted - 1];
    const isClosed = version?.until !== undefined && version.until <= Date.now();
    if (version === undefined || isClosed) throw new Refusal(404, "SECRET_NOT_FOUND");
    return version;
  };
  const infoOf = (path: string, { id, versions, traits }: Secret): Body => ({
    id,
    path,
    namespace: path.slice(0, path.lastIndexOf("/")),
    key: path.slice(path.lastIndexOf("/") + 1),
    version: versions.length,
    secret_type: traits["secret_type"] ?? "custom",
    access_tier: traits["access_tier"] ?? "standard",
    metadata: traits["metadata"] ?? {},
    hosts: traits["hosts"] ?? [],
    created_at: iso(versions[0]?.at ?? 0),
    updated_at: iso(versions.at(-1)?.at ?? 0),
  });
  const put = (path: string, value: string, traits: Body): Secret => {
    const known = secrets.get(path);
    const secret = known ?? { id: randomUUID(), versions: [], traits: {} };
    secret.versions.push({ value, at: Date.now() });
    const { value: _value, path: _path, ...rest } = traits;
    secret.traits = { ...secret.traits, ...rest };
    secrets.set(path, secret);
    change("secret.updated", { path, version: secret.versions.length });
    return secret;
  };
  const paged = (url: URL, items: readonly Body[], member = "items"): Body => {
    const limit = Number(url.searchParams.get("limit") ?? 100);
    const page = Number(url.searchParams.get("page") ?? 1);
    return { [member]: items.slice((page - 1) * limit, page * limit), total: items.length, page, limit };
  };

  const issue = (caller: Caller, body: Body): [number, Body] => {
    const agent =
      caller.agent.operator && body["agent"] !== undefined
        ? agents.find(({ name, active }) => name === body["agent"] && active)
        : caller.agent;
    if (agent === undefined || caller.token !== undefined) throw new Refusal(403, "SCOPE_DENIED");
    const scopes = texts(body["scopes"]);
    if (scopes.length === 0) throw new Refusal(400, "VALIDATION_ERROR");
    for (const scope of scopes) {
      const [, action = "", glob = ""] = scope.split(":");
      if (!covers(agent.scopes, action, glob)) throw new Refusal(403, "SCOPE_DENIED");
    }
    const isSensitive = [...secrets].some(
      ([path, { traits }]) =>
        traits["access_tier"] === "sensitive" &&
        ["read", "use", "write", "delete"].some((action) => covers(scopes, action, path)),
    );
    const { reason, ...rest } = body;
    const terms = JSON.stringify(rest);
    if (isSensitive && !agent.operator) {
      const mine = approvals.filter((one) => one.agent === agent && one.terms === terms && !one.used);
      const approved = mine.find(({ status }) => status === "approved");
      if (approved === undefined) {
        const open = mine.find(({ status }) => status === "pending");
        const approval: Approval = open ?? {
          id: randomUUID(),
          agent,
          terms,
          scopes,
          reason: optionalText(reason),
          status: "pending",
          used: false,
        };
        if (open === undefined) approvals.unshift(approval);
        return [202, { requires_approval: true, approval_id: approval.id, status: "pending" }];
      }
      approved.used = true;
    }
    const id = randomUUID();
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const ttl = typeof body["ttl"] === "number" ? body["ttl"] : 3600;
    const token: Token = {
      id,
      text: `${encode({ alg: "none" })}.${encode({ jti: id })}.${randomUUID().replaceAll("-", "")}`,
      agent,
      scopes,
      jkt: optionalText(body["dpop_jkt"]),
      issued: Date.now(),
      expires: Date.now() + ttl * 1000,
      maxUses: typeof body["max_uses"] === "number" ? body["max_uses"] : undefined,
      uses: 0,
    };
    tokens.push(token);
    record("token.issued", caller, id);
    const uses = token.maxUses === undefined ? {} : { max_uses: token.maxUses };
    const answer = { token: token.text, value: token.text, token_id: id, agent_id: agent.id, scopes };
    return [201, { ...answer, scope: scopes.join(" "), expires_at: iso(token.expires), ...uses }];
  };

  const revokeToken = (token: Token | undefined): [number, undefined] => {
    if (token === undefined) throw new Refusal(404, "NOT_FOUND");
    token.revoked ??= Date.now();
    change("token.revoked", { id: token.id });
    for (const [response, { token: own }] of streams) if (own === token) response.end();
    return [204, undefined];
  };

  const spend = ({ token }: Caller): void => {
    if (token?.maxUses === undefined) return;
    if (token.uses >= token.maxUses) throw new Refusal(401, "UNAUTHORIZED");
    token.uses += 1;
  };

  const redeem = (caller: Caller, body: Body): Body => {
    const path = String(body["path"]);
    const { token, jkt, agent } = caller;
    const isEnrolled = sidecars.some((one) => one.agent === agent && one.jkt === jkt);
    if (token === undefined || jkt === undefined) throw new Refusal(401, "UNAUTHORIZED");
    if (token.jkt === undefined && !isEnrolled) throw new Refusal(403, "SCOPE_DENIED");
    allow(caller, "use", path);
    const secret = find(path);
    const hosts = texts(secret.traits["hosts"]);
    const host = String(body["authority"]).replace(/:\d+$/, "");
    if (hosts.length > 0 && !hosts.includes(host)) throw new Refusal(403, "SCOPE_DENIED");
    const version = typeof body["version"] === "number" ? body["version"] : secret.versions.length;
    const { value } = versionOf(secret, version);
    if (body["if_version"] === version) return { version, unchanged: true };
    spend(caller);
    record("secret.used", caller, path);
    const replaced = secret.versions.slice(0, -1).map(({ value: old, at }) => ({ value: old, replaced_at: iso(at) }));
    return { value, version, path, max_age: 60, hosts, replaced };
  };

  const ofSecret = (ask: Ask, caller: Caller): [number, Body | undefined] => {
    const { method, url, body } = ask;
    const words = decodeURIComponent(url.pathname.slice("/v1/secrets/".length)).split("/");
    const verb = ["rotate", "rollback", "history"].find((one) => one === words.at(-1) && words.length > 2);
    const path = (verb === undefined ? words : words.slice(0, -1)).join("/");
    if (words.length < 2) throw new Refusal(404, "NOT_FOUND");
    if (method === "GET" && verb === "history") {
      allow(caller, "read", path);
      const items = find(path).versions.map(({ at, until }, index) => ({
        version: index + 1,
        created_at: iso(at),
        by: "operator",
        ...(until !== undefined && { readable_until: iso(until) }),
      }));
      return [200, { items: items.reverse() }];
    }
    if (method === "GET") {
      allow(caller, "read", path);
      const secret = find(path);
      const version = Number(url.searchParams.get("version") ?? secret.versions.length);
      const { value } = versionOf(secret, version);
      spend(caller);
      record("secret.read", caller, path);
      return [200, { ...infoOf(path, secret), version, value }];
    }
    if (method === "DELETE") {
      allow(caller, "delete", path);
      find(path);
      secrets.delete(path);
      change("secret.deleted", { path, version: 1 });
      return [204, undefined];
    }
    allow(caller, "write", path);
    if (method === "PUT") {
      const isNew = !secrets.has(path);
      record(isNew ? "secret.created" : "secret.updated", caller, path);
      return [isNew ? 201 : 200, infoOf(path, put(path, String(body["value"]), body))];
    }
    const secret = find(path);
    if (verb === "rollback") {
      const { value } = versionOf(secret, Number(body["version"]));
      return [200, infoOf(path, put(path, value, {}))];
    }
    const value = body["new_value"] ?? body["value"];
    if (value === undefined && (secret.traits["secret_type"] ?? "custom") !== "custom") {
      throw new Refusal(400, "VALIDATION_ERROR");
    }
    const until = Date.now() + Number(body["grace_period_seconds"] ?? 0) * 1000;
    for (const version of secret.versions) version.until ??= until;
    return [200, infoOf(path, put(path, String(value ?? randomUUID()), {}))];
  };

  const importText = (caller: Caller, body: Body): Body => {
    const namespace = String(body["namespace"]);
    const imported: string[] = [];
    for (const line of String(body["content"]).split("\n")) {
      const [, name, value = ""] = /^([A-Z0-9_a-z]+)=(.*)$/.exec(line) ?? [];
      if (name === undefined) continue;
      const path = `${namespace}/${name}`;
      allow(caller, "write", path);
      if (body["dry_run"] !== true) put(path, value.replace(/^(["'])(.*)\1$/, "$2"), {});
      imported.push(name);
    }
    return {
      namespace,
      imported,
      imported_count: imported.length,
      skipped: [],
      keys: imported,
      dry_run: body["dry_run"] === true,
    };
  };

  const describeAgent = ({ id, name, key, operator: isOperator, scopes, active }: Agent): Body => ({
    id,
    name,
    kind: isOperator ? "operator" : "agent",
    operator: isOperator,
    allowed_scopes: scopes,
    allowed_namespaces: [],
    api_key_prefix: key.slice(0, 14),
    active,
    created_at: iso(Date.now()),
    last_active_at: null,
  });
  const describeApproval = ({ id, agent, status, scopes, reason, decision }: Approval): Body => ({
    id,
    agent_id: agent.id,
    agent: agent.name,
    status,
    access_tier: "sensitive",
    requested_scopes: scopes,
    reason: reason ?? null,
    created_at: iso(Date.now()),
    expires_at: iso(Date.now() + 86_400_000),
    ...(decision !== undefined && { decision_reason: decision }),
  });

  const answer = async (ask: Ask): Promise<[number, Body | undefined]> => {
    const { method, url, body } = ask;
    const [, , group = "", one = "", ...more] = url.pathname.split("/").map(decodeURIComponent);
    const call = `${method} ${group}`;
    if (call === "GET health") return [200, { status: "ok", version: "0.0.0", service: "sidekey-vault" }];
    const caller = await callerOf(ask);
    if (call === "POST tokens" && one === "") return issue(caller, body);
    if (call === "POST tokens" && one === "revoke") return revokeToken(caller.token);
    if (call === "DELETE tokens") {
      const token = tokens.find(({ id }) => id === one);
      if (!caller.agent.operator && token?.agent !== caller.agent) throw new Refusal(404, "NOT_FOUND");
      return revokeToken(token);
    }
    if (call === "GET tokens") {
      const seen = tokens.filter(({ agent }) => caller.agent.operator || agent === caller.agent);
      const items = seen.map((token) => ({
        token_id: token.id,
        agent_id: token.agent.id,
        agent: token.agent.name,
        scopes: token.scopes,
        issued_at: iso(token.issued),
        expires_at: iso(token.expires),
        ...(token.revoked !== undefined && { revoked_at: iso(token.revoked) }),
      }));
      return [200, paged(url, items)];
    }
    if (call === "GET secrets" && one === "") {
      const namespace = url.searchParams.get("namespace");
      const scopes = caller.token?.scopes ?? caller.agent.scopes;
      const seen = [...secrets]
        .filter(([path]) => namespace === null || path.startsWith(`${namespace}/`))
        .filter(([path]) => ["read", "use", "write"].some((action) => covers(scopes, action, path)))
        .sort(([a], [b]) => (a < b ? -1 : 1));
      return [
        200,
        {
          namespace,
          ...paged(
            url,
            seen.map(([path, secret]) => infoOf(path, secret)),
          ),
        },
      ];
    }
    if (call === "POST secrets" && one === "import") return [200, importText(caller, body)];
    if (call === "POST secrets" && one === "") {
      const path = String(body["path"]);
      allow(caller, "write", path);
      if (secrets.has(path)) throw new Refusal(409, "CONFLICT");
      return [201, infoOf(path, put(path, String(body["value"]), body))];
    }
    if (group === "secrets") return ofSecret(ask, caller);
    if (call === "POST redeem") return [200, redeem(caller, body)];
    if (call === "POST sidecars") {
      const jkt = optionalText(body["jkt"]) ?? (await calculateJwkThumbprint(body["jwk"] as JWK));
      const agent = caller.agent.operator
        ? agents.find(({ name, id }) => [name, id].includes(String(body["agent"])))
        : caller.agent;
      if (agent === undefined || caller.token !== undefined) throw new Refusal(404, "NOT_FOUND");
      const known = sidecars.find((sidecar) => sidecar.jkt === jkt && sidecar.agent === agent);
      const sidecar = known ?? { id: randomUUID(), name: String(body["name"]), jkt, agent };
      if (known === undefined) sidecars.push(sidecar);
      return [201, { id: sidecar.id, name: sidecar.name, jkt, agent_id: agent.id, created_at: iso(Date.now()) }];
    }
    if (call === "GET approvals" && one === "agent") {
      const approval = approvals.find(({ id, agent }) => id === more[0] && agent === caller.agent);
      if (approval === undefined) throw new Refusal(404, "NOT_FOUND");
      return [200, describeApproval(approval)];
    }
    asOperator(caller);
    if (call === "GET sidecars") {
      return [
        200,
        paged(
          url,
          sidecars.map(({ id, name, jkt, agent }) => ({ id, name, jkt, agent_id: agent.id })),
        ),
      ];
    }
    if (call === "DELETE sidecars") {
      const at = sidecars.findIndex(({ id, jkt }) => id === one || jkt === one);
      const [gone] = at === -1 ? [] : sidecars.splice(at, 1);
      if (gone === undefined) throw new Refusal(404, "NOT_FOUND");
      change("sidecar.revoked", { jkt: gone.jkt });
      return [204, undefined];
    }
    if (call === "POST agents") {
      const name = String(body["name"]);
      if (agents.some((agent) => agent.name === name && agent.active)) throw new Refusal(409, "CONFLICT");
      const isOperator = body["operator"] === true;
      const agent = addAgent(name, isOperator, isOperator ? operator.scopes : texts(body["allowed_scopes"]));
      return [201, { ...describeAgent(agent), api_key: agent.key }];
    }
    if (call === "GET agents") return [200, paged(url, agents.map(describeAgent))];
    if (call === "DELETE agents") {
      const agent = agents.find(({ id, name, active }) => active && (id === one || name === one));
      if (agent === undefined) throw new Refusal(404, "NOT_FOUND");
      agent.active = false;
      for (const token of tokens) if (token.agent === agent) revokeToken(token);
      return [204, undefined];
    }
    if (group === "approvals") {
      if (one === "") {
        const status = url.searchParams.get("status");
        return [
          200,
          paged(
            url,
            approvals.filter((approval) => status === null || approval.status === status).map(describeApproval),
          ),
        ];
      }
      const approval = approvals.find(({ id }) => id === one);
      if (approval === undefined) throw new Refusal(404, "NOT_FOUND");
      if (method === "POST") {
        if (approval.status !== "pending") throw new Refusal(409, "CONFLICT");
        approval.status = more[0] === "approve" ? "approved" : "denied";
        const decision = optionalText(body["reason"]);
        if (decision !== undefined) approval.decision = decision;
      }
      return [200, describeApproval(approval)];
    }
    if (call === "GET audit") {
      const event = url.searchParams.get("event");
      const secret = url.searchParams.get("secret");
      const fits = (text: string, test: string | null): boolean =>
        test === null || (test.endsWith("*") ? text.startsWith(test.slice(0, -1)) : text === test);
      const found = audit.filter(
        (entry) => fits(String(entry["event_type"]), event) && fits(String(entry["resource_id"]), secret),
      );
      return [200, paged(url, found, "events")];
    }
    throw new Refusal(404, "NOT_FOUND");
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString("utf8");
    const ask: Ask = {
      method: request.method ?? "",
      url: new URL(request.url ?? "/", origin),
      request,
      body: text === "" ? {} : JSON.parse(text),
    };
    const send = (status: number, body: Body | undefined, headers: Record<string, string> = {}): void => {
      response.writeHead(status, { ...(body !== undefined && { "content-type": "application/json" }), ...headers });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    };
    try {
      if (ask.url.pathname === "/v1/events") {
        const caller = await callerOf(ask);
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(`id: ${generation}\nevent: ready\ndata: ${JSON.stringify({ generation })}\n\n`);
        streams.set(response, caller);
        response.on("close", () => streams.delete(response));
        return;
      }
      send(...(await answer(ask)));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { status, code, headers } = error;
      const message = `Refused: ${code}.`;
      send(
        status,
        { error: { code, message, request_id: randomUUID(), hint: "See the docs." }, detail: message },
        headers,
      );
    }
  };

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const place = server.address();
  origin = `${tls === undefined ? "http" : "https"}://${host}:${typeof place === "object" ? place?.port : 0}`;
  return {
    address: origin,
    operatorKey: operator.key,
    demandNonce() {
      nonce = `nonce-${randomUUID()}`;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};
