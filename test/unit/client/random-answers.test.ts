/** Answers made at random, some nearly right: every call ends with what it promises or with an error of the client's. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AgentVault, VaultClientError } from "../../../src/client/index.ts";
import { answerOf, type RawVault, startRawVault } from "../../support/vault/raw-vault.ts";
import { createProofKey, quickVault, TOKEN } from "./support.ts";

let raw: RawVault;
let vault: AgentVault;
/** What is answered next. */
let next = "";
beforeAll(async () => {
  raw = await startRawVault((socket) => void socket.end(next, "latin1"));
  vault = quickVault({
    address: raw.address,
    token: TOKEN,
    sidecarKey: createProofKey(),
    retries: 0,
    timeoutMs: 2_000,
  });
});
afterAll(() => raw?.close());

const PATH = "production/x/key";
const CALLS: Readonly<Record<string, () => Promise<unknown>>> = {
  getSecretRecord: () => vault.getSecretRecord(PATH),
  setSecret: () => vault.setSecret(PATH, "value"),
  rotateSecret: () => vault.rotateSecret(PATH),
  rollback: () => vault.rollback(PATH, 1),
  deleteSecret: () => vault.deleteSecret(PATH),
  history: () => vault.history(PATH),
  listSecrets: () => vault.listSecrets({ namespace: "production", page: 1 }),
  importEnv: () => vault.importEnv({ namespace: "production", content: "A=b" }),
  requestToken: () => vault.requestToken({ scopes: ["secrets:read:a/b"] }),
  "tokens.list": () => vault.tokens.list(),
  "agents.create": () => vault.agents.create({ name: "a" }),
  "agents.update": () => vault.agents.update("a", { description: null }),
  "agents.list": () => vault.agents.list(),
  "sidecars.enroll": () => vault.sidecars.enroll({ name: "a", jkt: "b" }),
  "sidecars.list": () => vault.sidecars.list(),
  "approvals.list": () => vault.approvals.list(),
  "approvals.get": () => vault.approvals.get("a"),
  audit: () => vault.audit(),
  redeem: () => vault.redeem({ path: PATH, authority: "a:443", ifVersion: 1 }),
  health: () => vault.health(),
};

/** Names that the client looks at, so that not everything ends at the first. */
const NAMES = [
  ...["value", "version", "path", "namespace", "key", "metadata", "items", "total", "token", "expires_at", "scopes"],
  ...[
    "requires_approval",
    "approval_id",
    "id",
    "name",
    "api_key",
    "jkt",
    "status",
    "events",
    "event_type",
    "created_at",
  ],
  ...["unchanged", "replaced", "replaced_at", "max_age", "not_after", "hosts", "imported", "error", "code", "message"],
  ...["hint", "request_id", "__proto__", "constructor", "toString", "placeholder", "uses", "issued_at", "token_id"],
];
const leaf = fc.oneof(
  fc.constantFrom<unknown>(
    1,
    0,
    -1,
    1.5,
    2 ** 53,
    true,
    false,
    null,
    "",
    "a",
    PATH,
    "2026-01-01T00:00:00Z",
    "2026-99-99",
  ),
  fc.string({ maxLength: 20 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const { document } = fc.letrec<{ document: unknown }>((tie) => ({
  document: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    fc.array(tie("document"), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie("document"), { maxKeys: 8, noNullPrototype: true }),
  ),
}));

const ends = async (call: () => Promise<unknown>): Promise<void> => {
  const error = await call().then(
    () => undefined,
    (failure: unknown) => failure,
  );
  if (error !== undefined && !(error instanceof VaultClientError)) throw error;
};

describe("an answer made at random", () => {
  it.each(Object.entries(CALLS))("ends %s in order", async (_name, call) => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(200, 201, 202, 204, 400, 401, 403, 404, 409, 429, 503),
        document,
        async (status, body) => {
          next = answerOf(status, JSON.stringify(body));
          await ends(call);
        },
      ),
      { numRuns: 100 },
    );
  });

  it("ends a call in order when it is no HTTP, or nearly some", async () => {
    const good = answerOf(200, { value: "v", version: 1 });
    const bytes = fc.oneof(
      fc.string({ unit: "binary", maxLength: 200 }),
      // One character of a good answer is another, or it ends there.
      fc
        .tuple(fc.nat(good.length - 1), fc.string({ unit: "binary", maxLength: 2 }), fc.boolean())
        .map(([at, other, isCut]) => good.slice(0, at) + other + (isCut ? "" : good.slice(at + 1))),
    );
    await fc.assert(
      fc.asyncProperty(bytes, async (text) => {
        next = text;
        await ends(() => vault.getSecretRecord(PATH));
      }),
      { numRuns: 300 },
    );
    expect(raw.requests.length).toBeGreaterThan(300);
  });
});
