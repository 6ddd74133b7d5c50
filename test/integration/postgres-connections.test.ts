/** A store in PostgreSQL whose server gives few connections, or that has a pooler between. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { openPostgres, type PostgresStorage } from "../../src/vault/storage/postgres.ts";
import { noPgbouncer, startPgbouncer } from "../support/pgbouncer.ts";
import { noPostgres, type PostgresServer, startPostgres, withSql } from "../support/postgres.ts";

const absent = noPostgres();
let server: PostgresServer | undefined;
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  if (absent === undefined) server = await startPostgres();
});
afterAll(() => server?.close());
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const database = async (): Promise<string> => (await server?.createDatabase()) ?? "";

const open = async (url: string): Promise<PostgresStorage> => {
  const storage = await openPostgres(url, { clock: systemClock, log: silentLog });
  cleanups.push(() => storage.close());
  return storage;
};

const countUp = (storage: PostgresStorage): Promise<number> =>
  storage.write((tx) => {
    const next = Number(tx.get("n")?.toString() ?? 0) + 1;
    tx.put("n", Buffer.from(String(next)));
    return next;
  });
const counted = (storage: PostgresStorage): Promise<number> =>
  storage.read((tx) => Number(tx.get("n")?.toString() ?? 0));

const because = (reason: string | undefined): string => (reason === undefined ? "" : ` (${reason})`);

describe.skipIf(absent !== undefined)(`a server that gives few connections${because(absent)}`, () => {
  it("serves all with those it gives, as soon as one of them is free", async () => {
    const url = await database();
    await (await openPostgres(url, { clock: systemClock, log: silentLog })).close();
    await withSql(url, async (sql) => {
      await sql("CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 2");
      await sql("GRANT SELECT, INSERT, UPDATE, DELETE ON sidekey_state, sidekey_rows, sidekey_proofs TO few");
    });
    const few = new URL(url);
    few.username = "few";
    few.password = "few";
    const storage = await open(few.href);
    for (let round = 1; round <= 3; round += 1) {
      await Promise.all<unknown>([
        ...Array.from({ length: 30 }, () => counted(storage)),
        ...Array.from({ length: 30 }, () => storage.read((tx) => tx.range("").length)),
        ...Array.from({ length: 30 }, () => countUp(storage)),
        ...Array.from({ length: 30 }, (_, n) => storage.replays.firstUse(`${round}-${n}`, Date.now() + 60_000)),
      ]);
      expect(await counted(storage)).toBe(30 * round);
    }
  });
});

describe.skipIf(absent !== undefined)(`somebody else in the database${because(absent)}`, () => {
  it("who waits for a write that waits for him costs the write nothing but time", async () => {
    const url = await database();
    const storage = await open(url);
    expect(await countUp(storage)).toBe(1);
    let counting: Promise<number> | undefined;
    await withSql(url, async (sql) => {
      await sql("BEGIN");
      await sql("SELECT 1 FROM sidekey_rows WHERE key = 'n' FOR UPDATE");
      counting = countUp(storage);
      await expect
        .poll(() =>
          withSql(url, (look) =>
            look("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'sidekey'"),
          ),
        )
        .toHaveLength(1);
      // PostgreSQL undoes one of the two: mostly ours, which has waited longer.
      await sql("SELECT 1 FROM sidekey_state FOR UPDATE").catch(() => {});
      await sql("ROLLBACK");
    });
    expect(await counting).toBe(2);
  });

  it("who has brought it to a newer form gets no write of the older one", async () => {
    const url = await database();
    const storage = await open(url);
    expect(await countUp(storage)).toBe(1);
    await withSql(url, (sql) => sql("UPDATE sidekey_state SET format = format + 1"));
    await expect(countUp(storage)).rejects.toMatchObject({ code: "VAULT_STORE_DAMAGED" });
    await withSql(url, (sql) => sql("UPDATE sidekey_state SET format = format - 1"));
    expect(await countUp(storage)).toBe(2);
  });
});

const noPooler = absent ?? noPgbouncer();

describe.skipIf(noPooler !== undefined)(`a pooler between${because(noPooler)}`, () => {
  const through = async (mode: "session" | "transaction" | "statement") => {
    const url = await database();
    const pooler = await startPgbouncer(url, mode);
    cleanups.push(() => pooler.close());
    return { url, pooled: pooler.url };
  };

  it("that keeps sessions is as good as none", async () => {
    const { url, pooled } = await through("session");
    const [storage, direct] = [await open(pooled), await open(url)];
    const heard: number[] = [];
    await storage.watch((generation) => heard.push(generation));
    expect(await countUp(direct)).toBe(1);
    await expect.poll(() => heard).toEqual([1]);
    await Promise.all(Array.from({ length: 20 }, () => countUp(storage)));
    expect(await counted(direct)).toBe(21);
  });

  it.each(["transaction", "statement"] as const)("that keeps none, in mode %s, is refused at once", async (mode) => {
    const { pooled } = await through(mode);
    await expect(open(pooled)).rejects.toMatchObject({
      code: "VAULT_STORE_BUSY",
      message: expect.stringContaining("another session"),
      hint: expect.stringContaining("pool_mode = session"),
    });
  });
});
