/** Secrets of the vault in memory, and their redemption. */
import { randomUUID } from "node:crypto";
import {
  type Agent,
  type Ask,
  type Body,
  type Caller,
  covers,
  iso,
  paged,
  Refusal,
  type Secret,
  type State,
  texts,
  type Version,
} from "./state.ts";

export interface SecretCalls {
  /** What concerns one secret or the list of them. */
  answer(ask: Ask, caller: Caller): [number, Body | undefined];
  redeem(caller: Caller, body: Body): Body;
}

export const createSecretCalls = ({ secrets, sidecars, placeholders, record, change, allow }: State): SecretCalls => {
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
  const spend = ({ token }: Caller): void => {
    if (token?.maxUses === undefined) return;
    if (token.uses >= token.maxUses) throw new Refusal(401, "UNAUTHORIZED");
    token.uses += 1;
  };

  const pathOf = (body: Body, agent: Agent): string => {
    const { path, name, placeholder } = body;
    if (typeof path === "string") return path;
    if (typeof placeholder === "string") {
      const found = placeholders.get(placeholder);
      if (found?.agent !== agent) throw new Refusal(404, "SECRET_NOT_FOUND");
      return found.path;
    }
    const places = agent.place?.split("/") ?? [];
    for (let length = places.length; length > 0; length -= 1) {
      const candidate = [...places.slice(0, length), name].join("/");
      if (secrets.has(candidate)) return candidate;
    }
    throw new Refusal(404, "SECRET_NOT_FOUND");
  };

  const redeem = (caller: Caller, body: Body): Body => {
    const { token, jkt, agent } = caller;
    const path = pathOf(body, agent);
    const isEnrolled = sidecars.some((one) => one.agent === agent && one.jkt === jkt && one.revoked === undefined);
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
      if (caller.token?.reads === "placeholder") {
        const placeholder = `SKP${randomUUID().replaceAll("-", "")}`;
        placeholders.set(placeholder, { path, agent: caller.agent });
        return [200, { ...infoOf(path, secret), version, value: placeholder, placeholder: true }];
      }
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

  return {
    redeem,
    answer(ask, caller) {
      const { method, url, body } = ask;
      const call = `${method} ${url.pathname}`;
      if (call === "GET /v1/secrets") {
        const namespace = url.searchParams.get("namespace");
        const scopes = caller.token?.scopes ?? caller.agent.scopes;
        const seen = [...secrets]
          .filter(([path]) => namespace === null || path.startsWith(`${namespace}/`))
          .filter(([path]) => ["read", "use", "write"].some((action) => covers(scopes, action, path)))
          .sort(([a], [b]) => (a < b ? -1 : 1));
        const items = seen.map(([path, secret]) => infoOf(path, secret));
        return [200, { namespace, ...paged(url, items) }];
      }
      if (call === "POST /v1/secrets/import") return [200, importText(caller, body)];
      if (call !== "POST /v1/secrets") return ofSecret(ask, caller);
      const path = String(body["path"]);
      allow(caller, "write", path);
      if (secrets.has(path)) throw new Refusal(409, "CONFLICT");
      return [201, infoOf(path, put(path, String(body["value"]), body))];
    },
  };
};
