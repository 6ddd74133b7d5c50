/**
 * Examples of what is sent and answered, by operation, for the OpenAPI document. A test holds each against its schema. No
 * value here opens anything, or looks as if it did.
 */

export interface Example {
  /** Of the path. */
  readonly params?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** By status; of those that have a body. */
  readonly answers: Readonly<Record<number, unknown>>;
}

const MADE = "2026-11-01T08:00:00.000Z";
const CHANGED = "2026-11-20T09:30:00.000Z";
const ENDS = "2026-11-20T10:30:00.000Z";
const AGENT_ID = "01a20f3c-5e00-7000-8a1b-2c3d4e5f6071";
const OPERATOR_ID = "01a20f3c-4b00-7000-9c2d-3e4f50617283";
const TOKEN_ID = "01a22170-7b4b-7000-894c-c5b1675aacc4";
const APPROVAL_ID = "01a22170-c96b-7000-9e3c-c2a767aa7ef1";
const SIDECAR_ID = "01a22171-1d2e-7000-8f90-a1b2c3d4e5f6";
const JKT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
const VALUE = "example-value";
const NAMESPACE = "production/openai";
const PATH = `${NAMESPACE}/api-key`;
const USE = `secrets:use:${NAMESPACE}/*`;
const ONE_PAGE = { total: 1, page: 1, limit: 100 };

const info = {
  id: "5f1c8a9e3b7d4026",
  path: PATH,
  namespace: NAMESPACE,
  key: "api-key",
  version: 2,
  secret_type: "api_key",
  access_tier: "standard",
  category: "provider",
  metadata: { owner: "research" },
  hosts: ["api.openai.com"],
  created_at: MADE,
  updated_at: CHANGED,
};

const agent = {
  id: AGENT_ID,
  name: "research",
  description: "reads papers",
  operator: false,
  allowed_scopes: [USE],
  allowed_namespaces: ["production"],
  reads: "value",
  place: "production/research",
  api_key_prefix: "ast_agent_Ab1C",
  active: true,
  created_at: MADE,
  last_active_at: CHANGED,
};

const sidecar = { id: SIDECAR_ID, name: "host-1", jkt: JKT, agent_id: AGENT_ID, created_at: MADE };

const approval = {
  id: APPROVAL_ID,
  agent_id: AGENT_ID,
  agent: "research",
  status: "pending",
  access_tier: "sensitive",
  requested_scopes: [USE],
  reason: "the weekly report",
  created_at: CHANGED,
  expires_at: "2026-11-21T09:30:00.000Z",
  approvals_needed: 1,
  approved_by: [],
};

const decided = { decided_by: OPERATOR_ID, decided_at: ENDS };
const granted = { ...approval, ...decided, status: "approved", approved_by: [OPERATOR_ID] };
const denied = { ...approval, ...decided, status: "denied", decision_reason: "not this week" };

const keys = {
  keys: [
    {
      kty: "OKP",
      crv: "Ed25519",
      x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
      kid: JKT,
      use: "sig",
      alg: "EdDSA",
    },
  ],
};

const event = {
  id: "42",
  event_type: "secret.used",
  actor_id: JKT,
  actor_type: "token",
  resource_type: "secret",
  resource_id: PATH,
  metadata: { agent: "research", reason: "POST https://api.openai.com/v1/responses", version: "2" },
  ip_address: "192.0.2.7",
  created_at: CHANGED,
};

const ofSecret = { path: PATH };
const ofToken = { id: TOKEN_ID };
const ofAgent = { id: "research" };
const ofApproval = { id: APPROVAL_ID };

export const EXAMPLES: Readonly<Record<string, Example>> = {
  getHealth: { answers: { 200: { status: "ok", version: "0.1.0", service: "sidekey-vault" } } },
  getDocument: { answers: { 200: { openapi: "3.1.0" } } },
  getSigningKeys: { answers: { 200: keys } },
  getWellKnownSigningKeys: { answers: { 200: keys } },
  getMe: {
    answers: {
      200: {
        id: AGENT_ID,
        name: "research",
        email: "",
        actor_type: "agent",
        plan: "self-hosted",
        subscription_status: "active",
        secret_count: 1,
        agent_count: 1,
      },
    },
  },
  getStatus: { answers: { 200: { has_subscription: true, plan: "self-hosted", subscription_status: "active" } } },
  issueToken: {
    body: { scopes: [USE], ttl: "1h", reason: "the weekly report" },
    answers: {
      201: {
        token: "HEADER.CLAIMS.SIGNATURE",
        value: "HEADER.CLAIMS.SIGNATURE",
        token_id: TOKEN_ID,
        agent_id: AGENT_ID,
        scopes: [USE],
        scope: USE,
        expires_at: ENDS,
      },
      202: {
        requires_approval: true,
        approval_id: APPROVAL_ID,
        status: "pending",
        access_tier: "sensitive",
        expires_at: approval.expires_at,
      },
    },
  },
  listTokens: {
    answers: {
      200: {
        items: [
          {
            token_id: TOKEN_ID,
            agent_id: AGENT_ID,
            agent: "research",
            scopes: [USE],
            scope: USE,
            issued_at: CHANGED,
            expires_at: ENDS,
            max_uses: 10,
            uses: 3,
          },
        ],
        ...ONE_PAGE,
      },
    },
  },
  deleteToken: { params: ofToken, answers: {} },
  revokeToken: { params: ofToken, answers: {} },
  revokeOwnToken: { answers: {} },
  rotateSigningKey: { answers: { 201: { kid: JKT } } },
  getSecret: { params: ofSecret, answers: { 200: { ...info, value: VALUE } } },
  putSecret: {
    params: ofSecret,
    body: { value: VALUE, secret_type: "api_key", hosts: ["api.openai.com"] },
    answers: { 200: info, 201: { ...info, version: 1, updated_at: MADE } },
  },
  patchSecret: { params: ofSecret, body: { hosts: ["api.openai.com"] }, answers: { 200: info } },
  deleteSecret: { params: ofSecret, answers: {} },
  listSecrets: { answers: { 200: { namespace: "", items: [info], ...ONE_PAGE } } },
  createSecret: { body: { path: PATH, value: VALUE }, answers: { 201: { ...info, version: 1, updated_at: MADE } } },
  getSecretHistory: {
    params: ofSecret,
    answers: {
      200: {
        items: [
          { version: 2, created_at: CHANGED, by: "operator" },
          { version: 1, created_at: MADE, by: "operator", readable_until: ENDS },
        ],
      },
    },
  },
  listNamespaces: { answers: { 200: { items: [{ namespace: NAMESPACE, secret_count: 1 }], ...ONE_PAGE } } },
  rotateSecret: { params: ofSecret, body: { new_value: VALUE, grace_period_seconds: "1h" }, answers: { 200: info } },
  rollBackSecret: { params: ofSecret, body: { version: 1 }, answers: { 200: { ...info, version: 3 } } },
  importSecrets: {
    body: { namespace: "production/app", content: "TOKEN=example-value\nDEBUG=\n", dry_run: true },
    answers: {
      200: {
        namespace: "production/app",
        imported: ["TOKEN"],
        imported_count: 1,
        skipped: ["DEBUG"],
        keys: ["TOKEN", "DEBUG"],
        dry_run: true,
      },
    },
  },
  listAgents: { answers: { 200: { items: [agent], ...ONE_PAGE } } },
  createAgent: {
    body: { name: "research", allowed_scopes: [USE], place: "production/research" },
    answers: { 201: { ...agent, api_key: "ast_agent_, and 43 characters" } },
  },
  updateAgent: {
    params: ofAgent,
    body: { allowed_scopes: [USE], description: "reads papers" },
    answers: { 200: agent },
  },
  revokeAgent: { params: ofAgent, answers: {} },
  listSidecars: { answers: { 200: { items: [sidecar], ...ONE_PAGE } } },
  enrolSidecar: { body: { name: "host-1", jkt: JKT }, answers: { 201: sidecar } },
  revokeSidecar: { params: { id: JKT }, answers: {} },
  redeem: {
    body: { path: PATH, authority: "api.openai.com", agent_name: "research", reason: "POST /v1/responses" },
    answers: { 200: { value: VALUE, version: 2, path: PATH, hosts: ["api.openai.com"], not_after: ENDS } },
  },
  streamEvents: {
    answers: { 200: `id: 7\nevent: secret.updated\ndata: {"path":"${PATH}","version":2}\n\n` },
  },
  listApprovals: { answers: { 200: { items: [approval], ...ONE_PAGE } } },
  getApproval: { params: ofApproval, answers: { 200: granted } },
  getOwnApproval: { params: ofApproval, answers: { 200: approval } },
  approve: { params: ofApproval, body: { reason: "for this week" }, answers: { 200: granted } },
  deny: { params: ofApproval, body: { reason: "not this week" }, answers: { 200: denied } },
  listAudit: { answers: { 200: { events: [event], ...ONE_PAGE } } },
  exportAudit: { answers: { 200: '{"seq":42,"event":"secret.used"}\n' } },
};
