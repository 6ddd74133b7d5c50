/** Secrets over the vault's API. A value leaves here as a `SecretValue`; what makes text of it is the caller's. */
import { isUtf8 } from "node:buffer";
import * as z from "zod";
import type { EpochMs } from "../core/clock.ts";
import { SecretValue } from "../core/secret-value.ts";
import { given, listOf, name, optional, type Page, type PageRequest, time, toPage, version } from "./answers.ts";
import type { Call, Calls } from "./calls.ts";
import type { Credentials } from "./credentials.ts";
import { ValidationError } from "./errors.ts";
import { secretTarget } from "./secret-path.ts";

export interface SecretInfo {
  readonly path: string;
  readonly version: number;
  readonly type: string;
  readonly tier: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly category?: string;
  /** Where the vault lets it be used; undefined = the vault does not say, empty = anywhere. */
  readonly hosts?: readonly string[];
  readonly createdAt?: EpochMs;
  readonly updatedAt?: EpochMs;
  readonly expiresAt?: EpochMs;
}

export interface SecretRecord extends SecretInfo {
  readonly value: SecretValue;
  /** `value` is a stand-in, which only a sidecar makes good. */
  readonly isPlaceholder: boolean;
}

export interface ReadOptions {
  readonly version?: number;
  /** In place of the client's own key or token. */
  readonly token?: string;
  /** Both go into the vault's audit. */
  readonly agentName?: string;
  readonly reason?: string;
  readonly signal?: AbortSignal;
}

export interface SecretTraits {
  readonly type?: string;
  readonly tier?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly category?: string;
  readonly hosts?: readonly string[];
  readonly expiresAt?: EpochMs;
}

export interface WriteOptions extends SecretTraits {
  readonly token?: string;
  /** Fails where there is one already. */
  readonly create?: boolean;
}

export interface RotateOptions {
  /** How long the older versions stay readable by number. `s` */
  readonly graceSeconds?: number;
  readonly token?: string;
}

export interface SecretVersion {
  readonly version: number;
  readonly createdAt: EpochMs;
  readonly by?: string;
  readonly readableUntil?: EpochMs;
}

export interface SecretsApi {
  read(path: string, options?: ReadOptions): Promise<SecretRecord>;
  write(path: string, value: SecretValue | string, options?: WriteOptions): Promise<SecretInfo>;
  /** Without a value the vault makes one, for a secret of type `custom`. */
  rotate(path: string, value: SecretValue | string | undefined, options?: RotateOptions): Promise<SecretInfo>;
  /** A new version with the value of an older one. */
  rollback(path: string, version: number, options?: { readonly token?: string }): Promise<SecretInfo>;
  remove(path: string, options?: { readonly token?: string }): Promise<void>;
  history(path: string, options?: ReadOptions): Promise<readonly SecretVersion[]>;
  list(request?: ListRequest): Promise<Page<SecretInfo>>;
}

export interface ListRequest extends PageRequest {
  readonly namespace?: string;
  readonly category?: string;
  readonly token?: string;
}

const text = z.string().max(1024);
const infoMembers = {
  path: optional(text),
  namespace: optional(text),
  key: optional(text),
  version,
  secret_type: optional(text),
  access_tier: optional(text),
  metadata: optional(z.record(z.string(), z.unknown())),
  category: optional(text),
  hosts: optional(z.array(text).max(1024)),
  created_at: optional(time),
  updated_at: optional(time),
  expires_at: optional(time),
};
const infoSchema = z.object(infoMembers);
type InfoBody = z.infer<typeof infoSchema>;

const recordSchema = z.object({ ...infoMembers, value: z.string().min(1), placeholder: optional(z.boolean()) });
const listSchema = listOf(infoSchema);
const historySchema = z.object({
  items: z.array(z.object({ version, created_at: time, by: optional(name), readable_until: optional(time) })),
});

export const createSecretsApi = (calls: Calls, credentials: Credentials): SecretsApi => {
  const change = (
    action: "write" | "delete",
    path: string,
    token: string | undefined,
    call: Pick<Call, "method" | "path" | "body" | "sensitive">,
  ): Promise<SecretInfo> =>
    credentials.forSecret(action, path, token, async (credential) => {
      const made = { ...call, credential, repeatable: false, what: path };
      return toInfo(await calls.json(made, infoSchema), path);
    });

  return {
    async read(path, { version: wanted, token, agentName, reason, signal } = {}) {
      const target = secretTarget(path);
      const query = { version: wanted, agent_name: agentName, reason };
      return credentials.forSecret("read", path, token, async (credential) => {
        const call = { method: "GET", path: target, query, credential, repeatable: true, once: true } as const;
        const { value, placeholder, ...body } = await calls.json({ ...call, what: path, signal }, recordSchema);
        return { ...toInfo(body, path), value: SecretValue.fromText(value), isPlaceholder: placeholder === true };
      });
    },
    async write(path, value, { token, create = false, ...traits } = {}) {
      const plain = plainText(value);
      const body = { value: plain, ...traitsBody(traits) };
      const put = { method: "PUT", path: secretTarget(path), body, sensitive: [plain] } as const;
      return change(
        "write",
        path,
        token,
        create ? { ...put, method: "POST", path: "/v1/secrets", body: { path, ...body } } : put,
      );
    },
    async rotate(path, value, { graceSeconds, token } = {}) {
      const plain = value === undefined ? undefined : plainText(value);
      const body = { new_value: plain, grace_period_seconds: graceSeconds };
      const sensitive = plain === undefined ? [] : [plain];
      return change("write", path, token, { method: "POST", path: secretTarget(path, "rotate"), body, sensitive });
    },
    async rollback(path, wanted, { token } = {}) {
      const body = { version: wanted };
      return change("write", path, token, { method: "POST", path: secretTarget(path, "rollback"), body });
    },
    async remove(path, { token } = {}) {
      const target = secretTarget(path);
      return credentials.forSecret("delete", path, token, (credential) =>
        calls.nothing({ method: "DELETE", path: target, credential, repeatable: false, what: path }),
      );
    },
    async history(path, { token, signal } = {}) {
      const target = secretTarget(path, "history");
      return credentials.forSecret("read", path, token, async (credential) => {
        const call = { method: "GET", path: target, credential, repeatable: true, what: path, signal } as const;
        const { items } = await calls.json(call, historySchema);
        return items.map((item) =>
          given({
            version: item.version,
            createdAt: item.created_at,
            by: item.by,
            readableUntil: item.readable_until,
          }),
        );
      });
    },
    async list({ namespace, category, page, limit, token, signal } = {}) {
      const query = { namespace, category, page, limit };
      const list = async (credential: Call["credential"]): Promise<Page<SecretInfo>> => {
        const call = { method: "GET", path: "/v1/secrets", query, credential, repeatable: true, signal } as const;
        const { items, total } = await calls.json(call, listSchema);
        return toPage(
          items.map((item) => toInfo(item, undefined)),
          total,
        );
      };
      if (namespace === undefined) return list(credentials.own(token));
      return credentials.forSecret("read", `${namespace}/*`, token, list);
    },
  };
};

/** The one exit of a value: into the body of a request, which is JSON and so text. Errors: CLIENT_REFUSED. */
const plainText = (value: SecretValue | string): string => {
  const text = textOf(value);
  // Half a surrogate pair is no text either.
  if (text !== "" && Buffer.from(text).toString("utf8") === text) return text;
  throw new ValidationError({
    detail: "The value is empty, or no text in UTF-8; nothing was sent.",
    hint: "Store bytes as base64, or in the vault's own machine without --vault.",
  });
};

/** Empty for what is none; programs without types may pass anything. */
const textOf = (value: SecretValue | string): string => {
  if (typeof value === "string") return value;
  if (!(value instanceof SecretValue)) return "";
  return value.lend((bytes) => (isUtf8(bytes) ? bytes.toString("utf8") : ""));
};

export const traitsBody = ({ type, tier, metadata, category, hosts, expiresAt }: SecretTraits): object => ({
  secret_type: type,
  access_tier: tier,
  metadata,
  category,
  hosts,
  expires_at: expiresAt === undefined ? undefined : new Date(expiresAt).toISOString(),
});

/** `asked`: the path of the call, where the answer names none. */
const toInfo = (body: InfoBody, asked: string | undefined): SecretInfo => {
  const { namespace, key } = body;
  const spelled = namespace === undefined || key === undefined ? undefined : `${namespace}/${key}`;
  return given({
    path: body.path ?? spelled ?? asked ?? "",
    version: body.version,
    type: body.secret_type ?? "custom",
    tier: body.access_tier ?? "standard",
    metadata: body.metadata ?? {},
    category: body.category,
    hosts: body.hosts,
    createdAt: body.created_at,
    updatedAt: body.updated_at,
    expiresAt: body.expires_at,
  });
};
