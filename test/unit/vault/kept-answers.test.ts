/** Answers to changes that were made under an Idempotency-Key, as they lie in the store. */
import { describe, expect, it } from "vitest";
import { parseScopes } from "../../../src/identity/scope.ts";
import { openVault } from "../../../src/vault/index.ts";
import type { KeyedRequest } from "../../../src/vault/kept-answers.ts";
import { codeOf, openTestVault, withRows } from "./support.ts";

const CANARY = "ast_agent_canary-0f3b9d6a1e";
const KEYED: KeyedRequest = {
  credential: "ask_op_credential-77c1",
  idempotencyKey: "key-1",
  request: JSON.stringify(["POST", "/v1/agents", { name: "bot" }]),
};

type TestVault = Awaited<ReturnType<typeof openTestVault>>;

const begin = async ({ vault }: TestVault, keyed = KEYED): Promise<string> => {
  const begun = await vault.answers.begin(keyed);
  if (begun.kind !== "first") throw new Error(`it is ${begun.kind}`);
  return begun.run;
};

/** The content of every row that opens with the vault's key, and the names of all. */
const everything = async ({ vault, ...at }: TestVault): Promise<string> => {
  await vault.close();
  return withRows(at, async (storage, { barrier }) =>
    storage
      .readNow((tx) => tx.range(""))
      .map(({ key, value }) => {
        try {
          return `${key} ${barrier.open({ path: key, version: 0 }, value).toString()}`;
        } catch {
          // The sum has a key of its own.
          return key;
        }
      })
      .join("\n"),
  );
};

describe("vault.answers", () => {
  it("has one first of several at once, in whatever processes, and the others hear how it ended", async () => {
    const one = await openTestVault();
    const other = await openTestVault(one);
    const begun = await Promise.all(
      Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? one : other).vault.answers.begin(KEYED)),
    );
    expect(begun.map(({ kind }) => kind).sort()).toEqual(["first", ...Array(19).fill("running")].sort());
    const run = begun.flatMap((each) => (each.kind === "first" ? [each.run] : []))[0] ?? "";
    await one.vault.answers.keep(KEYED, run, "the answer");
    expect(await other.vault.answers.begin(KEYED)).toEqual({ kind: "answered", answer: "the answer" });
  });

  it("tells requests and callers apart, and forgets what was refused", async () => {
    const stage = await openTestVault();
    const { answers } = stage.vault;
    const run = await begin(stage);
    expect(await codeOf(() => answers.begin({ ...KEYED, request: "another" }))).toBe("VAULT_IDEMPOTENCY_REUSED");
    await begin(stage, { ...KEYED, credential: "ask_op_another" });
    await begin(stage, { ...KEYED, idempotencyKey: "key-2" });
    await answers.forget(KEYED, "another run");
    expect((await answers.begin(KEYED)).kind).toBe("running");
    await answers.forget(KEYED, run);
    await begin(stage, { ...KEYED, request: "another" });
  });

  it("says of what was begun and never ended that nobody knows, until its minute is over", async () => {
    const stage = await openTestVault();
    const { answers } = stage.vault;
    const run = await begin(stage);
    await answers.keep(KEYED, run, undefined);
    expect((await answers.begin(KEYED)).kind).toBe("unsettled");
    stage.clock.advance(59_999);
    expect((await answers.begin(KEYED)).kind).toBe("unsettled");
    stage.clock.advance(1);
    const next = await begin(stage);
    // Of the one before, which comes to its end only now, nothing is kept.
    await answers.keep(KEYED, run, "late");
    expect((await answers.begin(KEYED)).kind).toBe("running");
    await answers.keep(KEYED, next, "its own");
    expect(await answers.begin(KEYED)).toMatchObject({ answer: "its own" });
  });

  it("lies in the store so that not even the vault's key opens it, nor tells what was asked", async () => {
    const stage = await openTestVault();
    const run = await begin(stage);
    await stage.vault.answers.keep(KEYED, run, JSON.stringify({ body: { api_key: CANARY } }));
    const rows = await everything(stage);
    expect(rows).toMatch(/^answer:[0-9a-f]{64} /m);
    for (const text of [CANARY, KEYED.credential, KEYED.idempotencyKey, "/v1/agents"]) expect(rows).not.toContain(text);
  });

  it("is there after a restart, and for a key that seals anew, and gone after its minute", async () => {
    const stage = await openTestVault();
    const { clock, state } = stage;
    await stage.vault.answers.keep(KEYED, await begin(stage), "the answer");
    await stage.vault.rekey();
    await stage.vault.close();
    const keys = { file: `${state}/vault.key` };
    const vault = await openVault({ directory: `${state}/vault`, keys, clock });
    expect(await vault.answers.begin(KEYED)).toMatchObject({ answer: "the answer" });
    clock.advance(30_000);
    const second = { ...KEYED, idempotencyKey: "key-2" };
    await begin({ ...stage, vault }, second);
    expect(await vault.briefRows.dropOver()).toBe(0);
    clock.advance(30_000);
    // Written anew before the old one was dropped: it is another one, and stays.
    await begin({ ...stage, vault });
    expect(await vault.briefRows.dropOver()).toBe(1);
    expect((await vault.answers.begin(KEYED)).kind).toBe("running");
    clock.advance(60_000);
    expect(await vault.briefRows.dropOver()).toBe(2);
    expect(await everything({ ...stage, vault })).not.toMatch(/^(?:answer|briefend):/m);
  });

  it("drops hundreds that are over, also those of counted uses", async () => {
    const { vault, clock, state } = await openTestVault();
    const scopes = parseScopes("secrets:read:*");
    const { claims } = await vault.tokens.issue({ agent: "bot", scopes, maxUses: 1_000 });
    const keys = Array.from({ length: 150 }, (_, n) => `key-${n}`);
    await Promise.all(keys.map((idempotencyKey) => vault.answers.begin({ ...KEYED, idempotencyKey })));
    const use = { request: "GET /v1/secrets/a/b", version: 1 };
    await Promise.all(keys.map((idempotencyKey) => vault.tokens.spend(claims.id, { ...use, idempotencyKey })));
    clock.advance(60_000);
    expect(await vault.briefRows.dropOver()).toBe(300);
    expect(await vault.tokens.find(claims.id)).toMatchObject({ uses: 150 });
    expect(await everything({ vault, clock, state })).not.toMatch(/^(?:answer|idem|briefend):/m);
  });
});
