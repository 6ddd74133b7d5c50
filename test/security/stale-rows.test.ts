/**
 * Rows of a database that somebody puts back, takes away or brings from an older copy, while replicas have it open: they
 * are noticed by the read that meets them, at every replica, whatever it has read before. And nothing is, when replicas
 * only write against each other.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { ErrorCode } from "../../src/core/errors.ts";
import { silentLog } from "../../src/core/log.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { parseScopes } from "../../src/identity/scope.ts";
import { type AnyVault, assembleVault } from "../../src/vault/assemble.ts";
import { createBarrier } from "../../src/vault/barrier/barrier.ts";
import { guardShared } from "../../src/vault/barrier/guarded-storage.ts";
import { openKeyRing } from "../../src/vault/barrier/key.ts";
import { openPostgres } from "../../src/vault/storage/postgres.ts";
import { failure } from "../support/failure.ts";
import { noPostgres, type PostgresServer, startPostgres, withSql } from "../support/postgres.ts";

const absent = noPostgres();
const suite = describe.skipIf(absent !== undefined);
const why = absent === undefined ? "" : ` (${absent})`;

let server: PostgresServer | undefined;
let state = "";
let url = "";
/** All rows were gone through so often, after the opening. */
let scans = 0;
const opened: AnyVault[] = [];

beforeAll(async () => {
  if (absent === undefined) server = await startPostgres();
});
afterAll(() => server?.close());
beforeEach(async () => {
  if (server === undefined) return;
  state = mkdtempSync(join(tmpdir(), "sidekey-stale-"));
  url = await server.createDatabase();
  scans = 0;
});
afterEach(async () => {
  for (const vault of opened.splice(0)) await vault.close();
  rmSync(state, { recursive: true, force: true });
});

/** A replica without the check in the background. */
const open = async (): Promise<AnyVault> => {
  const database = await openPostgres(url, { clock: systemClock, log: silentLog });
  const ring = await openKeyRing({ file: join(state, "vault.key") }, true);
  const barrier = createBarrier(ring, systemClock);
  const counted: typeof database = {
    ...database,
    scan(scan) {
      scans += 1;
      return database.scan(scan);
    },
  };
  const storage = await guardShared(counted, { ring, barrier }, systemClock);
  const vault = assembleVault(storage, { ring, barrier, isShared: true, replays: database.replays }, systemClock);
  opened.push({ ...vault, close: () => database.close() });
  return vault;
};

const secret = (text: string): SecretValue => SecretValue.fromText(text);
const sql = (text: string) => withSql(url, (run) => run(text));
const keep = (name: string) => sql(`CREATE TABLE ${name} AS SELECT * FROM sidekey_rows`);
const putBack = (name: string, key: string) =>
  sql(
    `DELETE FROM sidekey_rows WHERE key = '${key}'; INSERT INTO sidekey_rows SELECT * FROM ${name} WHERE key = '${key}'`,
  );

suite(`rows that are put back while replicas run${why}`, () => {
  interface Stage {
    readonly vault: AnyVault;
    /** Two tokens, each of one use. */
    readonly tokens: readonly { readonly id: string; readonly token: string }[];
  }
  interface Case {
    readonly key: (stage: Stage) => string;
    readonly change: (stage: Stage) => Promise<unknown>;
    readonly use: (replica: AnyVault, stage: Stage) => Promise<unknown>;
  }
  const tokenAt = ({ tokens }: Stage): { readonly id: string; readonly token: string } =>
    tokens[0] ?? { id: "", token: "" };

  const CASES: readonly (readonly [string, Case])[] = [
    [
      "a secret as it was before a rotation",
      {
        key: () => "meta:acme/key",
        change: ({ vault }) => vault.secrets.rotate("acme/key", secret("new")),
        use: (replica) => replica.secrets.get("acme/key"),
      },
    ],
    [
      "a tier as it was before it was raised, for a write",
      {
        key: () => "meta:acme/key",
        change: ({ vault }) => vault.secrets.describe("acme/key", { tier: "critical" }),
        use: (replica) => replica.secrets.rotate("acme/key", secret("newer")),
      },
    ],
    [
      "a token that was revoked",
      {
        key: (stage) => `token:${tokenAt(stage).id}`,
        change: (stage) => stage.vault.tokens.revoke(tokenAt(stage).id),
        use: (replica, stage) => replica.tokens.verify(tokenAt(stage).token),
      },
    ],
    [
      "a use that was spent",
      {
        key: (stage) => `token:${tokenAt(stage).id}`,
        change: (stage) => stage.vault.tokens.spend(tokenAt(stage).id),
        use: (replica, stage) => replica.tokens.spend(tokenAt(stage).id),
      },
    ],
    [
      "a narrower secret that is not there, so that a wider one stands in",
      {
        key: () => "meta:acme/team/key",
        change: ({ vault }) => vault.secrets.set("acme/team/key", secret("narrow")),
        use: (replica) => replica.secrets.resolveName("key", "acme/team"),
      },
    ],
  ];

  it.each(CASES)("are served by no replica: %s", async (_, { key, change, use }) => {
    const [vault, reader, other] = [await open(), await open(), await open()];
    await vault.secrets.set("acme/key", secret("wide"));
    await vault.secrets.set("acme/rest", secret("untouched"));
    const request = { scopes: parseScopes("secrets:read:acme/*"), agent: "research", maxUses: 1 };
    const issued = await vault.tokens.issue(request);
    const stage: Stage = { vault, tokens: [{ id: issued.claims.id, token: issued.token }] };
    await reader.secrets.get("acme/key");
    await reader.tokens.verify(issued.token);
    await keep("before");
    await change(stage);
    await putBack("before", key(stage));
    // One has read the row before, one has read nothing at all, and one has made the change.
    for (const replica of [reader, other, vault]) {
      expect(await failure(() => use(replica, stage))).toBe("VAULT_STORE_DAMAGED");
      expect(await failure(() => replica.secrets.get("acme/rest"))).toBe("VAULT_STORE_DAMAGED");
    }
  });

  it("are refused as a whole by who saw newer ones", async () => {
    const replicas = [await open(), await open()] as const;
    await replicas[0].secrets.set("a/b", secret("one"));
    await keep("before");
    const [at] = await sql("SELECT generation FROM sidekey_state");
    await replicas[0].secrets.set("a/b", secret("two"));
    await replicas[1].secrets.get("a/b");
    await sql(`BEGIN; DELETE FROM sidekey_rows; INSERT INTO sidekey_rows SELECT * FROM before;
      UPDATE sidekey_state SET generation = ${at?.["generation"]}; COMMIT`);
    for (const replica of replicas) {
      expect(await failure(() => replica.secrets.get("a/b"))).toBe("VAULT_STORE_DAMAGED");
      expect(await failure(() => replica.secrets.set("a/b", secret("three")))).toBe("VAULT_STORE_DAMAGED");
    }
  });
});

suite(`replicas that write against each other${why}`, () => {
  it("have no doubt about any row, and go through none of them again", { timeout: 120_000 }, async () => {
    const replicas = [await open(), await open(), await open()];
    const paths = ["a/1", "a/2", "b/1"];
    const ends = new Set<string | undefined>();
    const act = async (vault: AnyVault, n: number): Promise<unknown> => {
      const path = paths[n % paths.length] ?? "";
      switch (Math.floor(Math.random() * 9)) {
        case 0:
          return vault.secrets.set(path, secret(`${n}`));
        case 1:
          return vault.secrets.rotate(path, secret(`${n}`), { graceMs: n % 3 });
        case 2:
          return vault.secrets.remove(path);
        case 3:
          return vault.secrets.rollback(path, 1);
        case 4:
          return vault.secrets.describe(path, { tier: n % 2 === 0 ? "critical" : "standard" });
        case 5:
          return vault.secrets.list();
        case 6: {
          const { claims, token } = await vault.tokens.issue({
            scopes: parseScopes("secrets:read:*"),
            agent: "x",
            maxUses: 2,
          });
          await vault.tokens.spend(claims.id);
          await vault.tokens.revoke(claims.id);
          return vault.tokens.verify(token);
        }
        case 7:
          return vault.secrets.tierOf(parseScopes("secrets:read:a/*"));
        default:
          return vault.secrets.get(path);
      }
    };
    const work = async (vault: AnyVault): Promise<void> => {
      for (let n = 0; n < 60; n += 1) ends.add(await failure(() => act(vault, n)));
    };
    await Promise.all(replicas.flatMap((vault) => [work(vault), work(vault), work(vault)]));
    const expected = ["VAULT_SECRET_MISSING", "IDENTITY_TOKEN_REVOKED", "VAULT_SECRET_EXPIRED", undefined];
    expect([...ends].filter((end) => !expected.includes(end as ErrorCode | undefined))).toEqual([]);
    expect(scans).toBe(0);
    await open();
  });

  it("judge rows again after more was changed than is told, once all were gone through", {
    timeout: 60_000,
  }, async () => {
    const [one, other] = [await open(), await open()];
    await one.secrets.importAll(Array.from({ length: 200 }, (_, n) => ({ path: `a/s${n}`, value: secret(`${n}`) })));
    await keep("before");
    await other.secrets.get("a/s1");
    // More was changed than is told.
    await expect.poll(() => scans).toBe(1);
    await one.secrets.rotate("a/s1", secret("new"));
    await putBack("before", "meta:a/s1");
    expect(await failure(() => other.secrets.get("a/s1"))).toBe("VAULT_STORE_DAMAGED");
  });
});
