/** Tokens, agents, sidecars and approvals of the vault in memory. A token that reaches a sensitive secret needs a person's word. */
import { randomUUID } from "node:crypto";
import { calculateJwkThumbprint, type JWK } from "jose";
import {
  type Agent,
  type Approval,
  type Ask,
  type Body,
  type Caller,
  covers,
  iso,
  optionalText,
  paged,
  Refusal,
  type Sidecar,
  type State,
  type Token,
  texts,
} from "./state.ts";

export type IdentityCalls = (ask: Ask, caller: Caller) => Promise<[number, Body | undefined]>;

export const createIdentityCalls = (state: State): IdentityCalls => {
  const { secrets, agents, tokens, approvals, sidecars, audit, streams, operator, addAgent, record, change } = state;

  const isWithin = (token: { readonly scopes: readonly string[] }, agent: Agent): boolean =>
    token.scopes.every((scope) => {
      const [, action = "", glob = ""] = scope.split(":");
      return covers(agent.scopes, action, glob);
    });
  const asOperator = ({ agent, token }: Caller): void => {
    if (!agent.operator || token !== undefined) throw new Refusal(403, "SCOPE_DENIED");
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
      reads: optionalText(body["reads"]) ?? agent.reads,
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

  const describeAgent = ({ id, name, key, operator: isOperator, scopes, description, active }: Agent): Body => ({
    id,
    name,
    kind: isOperator ? "operator" : "agent",
    operator: isOperator,
    allowed_scopes: scopes,
    ...(description !== undefined && { description }),
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

  return async ({ method, url, body }, caller) => {
    const [, , group = "", one = "", ...more] = url.pathname.split("/").map(decodeURIComponent);
    const call = `${method} ${group}`;
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
    if (call === "POST sidecars") {
      const jkt = optionalText(body["jkt"]) ?? (await calculateJwkThumbprint(body["jwk"] as JWK));
      const agent = caller.agent.operator
        ? agents.find(({ name, id }) => [name, id].includes(String(body["agent"])))
        : caller.agent;
      if (agent === undefined || caller.token !== undefined) throw new Refusal(404, "NOT_FOUND");
      const known = sidecars.find((sidecar) => sidecar.jkt === jkt && sidecar.agent === agent);
      if (known?.revoked !== undefined) throw new Refusal(403, "SCOPE_DENIED");
      const sidecar: Sidecar = known ?? { id: randomUUID(), name: String(body["name"]), jkt, agent };
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
          sidecars.map(({ id, name, jkt, agent, revoked }) => ({
            id,
            name,
            jkt,
            agent_id: agent.id,
            ...(revoked !== undefined && { revoked_at: iso(revoked) }),
          })),
        ),
      ];
    }
    if (call === "DELETE sidecars") {
      const gone = sidecars.find(({ id, jkt }) => id === one || jkt === one);
      if (gone === undefined) throw new Refusal(404, "NOT_FOUND");
      gone.revoked ??= Date.now();
      change("sidecar.revoked", { jkt: gone.jkt });
      return [204, undefined];
    }
    if (call === "POST agents") {
      const name = String(body["name"]);
      if (agents.some((agent) => agent.name === name && agent.active)) throw new Refusal(409, "CONFLICT");
      const isOperator = body["operator"] === true;
      const agent = addAgent(name, isOperator, isOperator ? operator.scopes : texts(body["allowed_scopes"]), body);
      return [201, { ...describeAgent(agent), api_key: agent.key }];
    }
    if (call === "GET agents") return [200, paged(url, agents.map(describeAgent))];
    if (call === "PATCH agents") {
      const agent = agents.find(({ id, name, active }) => active && (id === one || name === one));
      if (agent === undefined) throw new Refusal(404, "NOT_FOUND");
      if (body["allowed_scopes"] !== undefined) agent.scopes = texts(body["allowed_scopes"]);
      agent.description = optionalText(body["description"]);
      agent.reads = optionalText(body["reads"]) ?? agent.reads;
      for (const token of tokens) if (token.agent === agent && !isWithin(token, agent)) revokeToken(token);
      return [200, describeAgent(agent)];
    }
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
};
