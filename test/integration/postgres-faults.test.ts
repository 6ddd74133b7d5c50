/** A store in PostgreSQL whose server is absent, refuses, hangs, or is lost at the worst moment; and TLS towards it. */
import { createServer, connect as dial, type Server, type Socket } from "node:net";
import { inspect } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError, type SidekeyError } from "../../src/core/errors.ts";
import type { Log } from "../../src/core/log.ts";
import { openPostgres, type PostgresStorage } from "../../src/vault/storage/postgres.ts";
import { noPostgres, POSTGRES_PASSWORD, type PostgresServer, startPostgres, withSql } from "../support/postgres.ts";

const absent = noPostgres();
let server: PostgresServer | undefined;
const cleanups: (() => Promise<unknown>)[] = [];
const lines: string[] = [];
const note = (message: string, fields?: unknown): void => void lines.push(`${message} ${JSON.stringify(fields ?? {})}`);
const log: Log = { error: note, warn: note, info: note, debug: note };

beforeAll(async () => {
  if (absent === undefined) server = await startPostgres();
});
afterAll(() => server?.close());
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  expect(lines.join("\n")).not.toContain("c4n4ry");
  lines.length = 0;
});

const database = async (): Promise<string> => (await server?.createDatabase()) ?? "";

const open = async (url: string): Promise<PostgresStorage> => {
  const storage = await openPostgres(url, { clock: systemClock, log });
  cleanups.push(() => storage.close());
  return storage;
};

/** What it is refused with, once it was looked at for the password. */
const failureOf = async (run: () => Promise<unknown>): Promise<SidekeyError> => {
  try {
    await run();
  } catch (error) {
    if (!isSidekeyError(error)) throw error;
    const shown = `${inspect(error, { depth: 10, showHidden: true })} ${error.stack} ${error.hint}`;
    for (const part of [POSTGRES_PASSWORD, encodeURIComponent(POSTGRES_PASSWORD), "c4n4ry"]) {
      expect(shown).not.toContain(part);
    }
    return error;
  }
  throw new Error("it did not fail");
};

const listen = async (onConnection: (socket: Socket) => void): Promise<{ port: number; server: Server }> => {
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  cleanups.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => listener.close(resolve));
  });
  const address = listener.address();
  return { port: typeof address === "object" && address !== null ? address.port : 0, server: listener };
};

const at = (url: string, port: number, host = "127.0.0.1"): string => {
  const changed = new URL(url);
  changed.port = String(port);
  changed.hostname = host;
  return changed.href;
};

type Cut = "before" | "after";

/** In front of the database; cuts the connection at the next message that holds `text`, before or after it got there. */
const startProxy = async (port: number) => {
  let armed: { readonly text: string; readonly cut: Cut } | undefined;
  let cuts = 0;
  const front = await listen((client) => {
    const upstream = dial(port, "127.0.0.1");
    upstream.on("error", () => {});
    let isCut = false;
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    client.on("data", (chunk: Buffer) => {
      if (armed !== undefined && chunk.includes(armed.text)) {
        const { cut } = armed;
        armed = undefined;
        cuts += 1;
        if (cut === "before") return end();
        isCut = true;
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk: Buffer) => {
      // It has answered, so it is done; nobody hears of it.
      if (isCut) end();
      else client.write(chunk);
    });
    client.once("close", () => upstream.destroy());
    upstream.once("close", () => client.destroy());
  });
  return {
    port: front.port,
    cuts: () => cuts,
    arm(text: string, cut: Cut) {
      armed = { text, cut };
    },
  };
};

const suite = describe.skipIf(absent !== undefined);
const why = absent === undefined ? "" : ` (${absent})`;

const countUp = (storage: PostgresStorage, seen: { runs: number }): Promise<number> =>
  storage.write((tx) => {
    seen.runs += 1;
    const next = Number(tx.get("n")?.toString() ?? 0) + 1;
    tx.put("n", Buffer.from(String(next)));
    return next;
  });
const counted = (storage: PostgresStorage): Promise<number> =>
  storage.read((tx) => Number(tx.get("n")?.toString() ?? 0));

suite(`opening a store in PostgreSQL${why}`, () => {
  it("says what is wrong, and nothing of the URL", { timeout: 60_000 }, async () => {
    const url = await database();
    const silent = await listen(() => {});
    const rude = await listen((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    const wrong = new URL(url);
    wrong.password = "c4n4ry-wrong";
    const nowhere = new URL(url);
    nowhere.pathname = "/nowhere";
    for (const [one, words] of [
      [at(url, 1), "ECONNREFUSED"],
      [at(url, silent.port), "no answer in time"],
      [at(url, rude.port), "PostgreSQL"],
      [wrong.href, "28P01"],
      [nowhere.href, "3D000"],
    ] as const) {
      const error = await failureOf(() => open(one));
      expect(error.code).toBe("VAULT_STORE_BUSY");
      expect(error.message).toContain(words);
      expect(error.hint).not.toContain("directory");
    }
  });

  it("asks for TLS and checks the name and the authority, unless it is told not to", { timeout: 60_000 }, async () => {
    const url = await database();
    const port = server?.port ?? 0;
    const ca = encodeURIComponent(server?.caFile ?? "");
    const secured = await open(`${at(url, port, "localhost")}?sslmode=verify-full&sslrootcert=${ca}`);
    await secured.write((tx) => tx.put("a", Buffer.from("1")));
    const connections = await withSql(url, (sql) =>
      sql(`SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'sidekey' AND datname = current_database()`),
    );
    expect(connections.length).toBeGreaterThan(0);
    for (const { ssl, version } of connections) expect([ssl, version]).toEqual([true, "TLSv1.3"]);
    for (const [one, words] of [
      [`${at(url, port, "localhost")}?sslmode=require`, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
      [`${at(url, port, "127.0.0.1")}?sslmode=require&sslrootcert=${ca}`, "ERR_TLS_CERT_ALTNAME_INVALID"],
    ] as const) {
      expect((await failureOf(() => open(one))).message).toContain(words);
    }
    // A server, or somebody on the way, that says it has no TLS.
    const plain = await listen((socket) => socket.once("data", () => socket.end("N")));
    expect((await failureOf(() => open(`${at(url, plain.port)}?sslmode=require`))).message).toContain("has no TLS");
    const clear = await open(`${url}?sslmode=disable`);
    expect((await clear.read((tx) => tx.get("a")))?.toString()).toBe("1");
  });

  it("takes a Unix socket, and a schema of its own beside another store", async () => {
    const url = await database();
    const socket = `${at(url, server?.port ?? 0, "localhost")}?host=${encodeURIComponent(server?.socket ?? "")}`;
    await withSql(url, (sql) => sql("CREATE SCHEMA other"));
    const one = await open(socket);
    const other = await open(`${url}?options=${encodeURIComponent("-c search_path=other")}`);
    await one.write((tx) => tx.put("a", Buffer.from("1")));
    expect(await other.read((tx) => [tx.generation, tx.get("a")])).toEqual([0, undefined]);
    const heard: number[] = [];
    await other.watch((generation) => heard.push(generation));
    await one.write((tx) => tx.put("a", Buffer.from("2")));
    await other.write((tx) => tx.put("a", Buffer.from("3")));
    await expect.poll(() => heard).toEqual([1]);
  });

  it("needs no right to make tables where they are", async () => {
    const url = await database();
    await (await openPostgres(url, { clock: systemClock, log })).close();
    await withSql(url, async (sql) => {
      await sql("CREATE ROLE plain LOGIN PASSWORD 'c4n4ry-plain'");
      await sql("GRANT SELECT, INSERT, UPDATE, DELETE ON sidekey_state, sidekey_rows, sidekey_proofs TO plain");
    });
    const plain = new URL(url);
    plain.username = "plain";
    plain.password = "c4n4ry-plain";
    const storage = await open(plain.href);
    expect(await countUp(storage, { runs: 0 })).toBe(1);
    const bare = new URL(await database());
    bare.username = "plain";
    bare.password = "c4n4ry-plain";
    const error = await failureOf(() => open(bare.href));
    expect([error.code, error.message]).toEqual(["VAULT_STORE_BUSY", expect.stringContaining("42501")]);
  });

  it("uses no more connections than it may, and one to listen", async () => {
    const url = await database();
    const storage = await openPostgres(url, { clock: systemClock, log, poolSize: 3 });
    cleanups.push(() => storage.close());
    await storage.watch(() => {});
    const seen = { runs: 0 };
    await Promise.all([
      ...Array.from({ length: 100 }, () => storage.read((tx) => tx.range("").length)),
      ...Array.from({ length: 100 }, () => countUp(storage, seen)),
      ...Array.from({ length: 100 }, (_, n) => storage.replays.firstUse(`${n}`, Date.now() + 1000)),
    ]);
    const [found] = await withSql(url, (sql) =>
      sql(`SELECT count(*)::integer AS count FROM pg_stat_activity
        WHERE application_name = 'sidekey' AND datname = current_database()`),
    );
    expect(found?.["count"]).toBeLessThanOrEqual(4);
    expect(await counted(storage)).toBe(100);
  });
});

suite(`a standby${why}`, () => {
  it("is not asked, since it may lag behind; once it is the primary, it is", { timeout: 120_000 }, async () => {
    const other = await startPostgres();
    cleanups.push(() => other.close());
    const url = await other.createDatabase();
    const storage = await open(url);
    expect(await countUp(storage, { runs: 0 })).toBe(1);
    await other.startAsStandby();
    for (const ask of [() => counted(storage), () => countUp(storage, { runs: 0 }), () => open(url)]) {
      const error = await failureOf(ask);
      expect([error.code, error.message]).toEqual(["VAULT_STORE_BUSY", expect.stringContaining("standby")]);
    }
    await other.promote();
    expect(await counted(storage)).toBe(1);
    expect(await countUp(storage, { runs: 0 })).toBe(2);
  });
});

suite(`a connection that is lost${why}`, () => {
  const throughProxy = async () => {
    const url = await database();
    const proxy = await startProxy(server?.port ?? 0);
    return { proxy, storage: await open(at(url, proxy.port)), direct: await open(url) };
  };

  it("makes a read ask again over another one", async () => {
    const { proxy, storage } = await throughProxy();
    await countUp(storage, { runs: 0 });
    for (const cut of ["before", "after"] as const) {
      // The statement is sent once for each connection, and by its name from then on.
      proxy.arm("sidekey_fetch", cut);
      expect(await counted(storage)).toBe(1);
    }
    expect(proxy.cuts()).toBe(2);
  });

  it("makes a write begin again while its commit was not sent", async () => {
    const { proxy, storage, direct } = await throughProxy();
    const seen = { runs: 0 };
    let expected = 0;
    for (const text of ["BEGIN", "sidekey_lock", "sidekey_fetch", "sidekey_apply"]) {
      for (const cut of ["before", "after"] as const) {
        proxy.arm(text, cut);
        expected += 1;
        expect(await countUp(storage, seen), `${text} ${cut}`).toBe(expected);
      }
    }
    expect(proxy.cuts()).toBe(8);
    expect(await counted(direct)).toBe(expected);
  });

  it("leaves the word to the caller when the answer to a commit is lost, and does nothing twice", async () => {
    const { proxy, storage, direct } = await throughProxy();
    for (const [cut, isIn] of [
      ["before", 0],
      ["after", 1],
    ] as const) {
      const before = await counted(direct);
      const seen = { runs: 0 };
      // Learns what it asks for, so that it runs once more at most.
      proxy.arm("COMMIT", cut);
      const error = await failureOf(() => countUp(storage, seen));
      expect([error.code, error.message]).toEqual(["VAULT_STORE_BUSY", expect.stringContaining("may be in, or not")]);
      const runs = seen.runs;
      expect(await counted(direct)).toBe(before + isIn);
      expect(await countUp(storage, seen)).toBe(before + isIn + 1);
      expect(runs).toBeLessThanOrEqual(2);
    }
  });

  it("forgets proofs that are long over", async () => {
    const url = await database();
    let passed = 0;
    const clock = { now: () => Date.now() + passed, monotonic: () => performance.now() + passed };
    const storage = await openPostgres(url, { clock, log });
    cleanups.push(() => storage.close());
    const count = async (): Promise<unknown> =>
      (await withSql(url, (sql) => sql("SELECT count(*)::integer AS count FROM sidekey_proofs")))[0]?.["count"];
    for (const id of ["a", "b"]) expect(await storage.replays.firstUse(id, clock.now() + 1000)).toBe(true);
    passed = 120_000;
    expect(await storage.replays.firstUse("c", clock.now() + 600_000)).toBe(true);
    // Another machine's clock may be behind.
    expect(await count()).toBe(3);
    passed = 480_000;
    await storage.replays.firstUse("d", clock.now() + 1000);
    await expect.poll(count).toBe(2);
    expect(await storage.replays.firstUse("c", clock.now() + 1000)).toBe(false);
  });

  it("forgets them all, however many came", async () => {
    const url = await database();
    let passed = 0;
    const clock = { now: () => Date.now() + passed, monotonic: () => performance.now() + passed };
    const storage = await openPostgres(url, { clock, log });
    cleanups.push(() => storage.close());
    const count = async (): Promise<unknown> =>
      (await withSql(url, (sql) => sql("SELECT count(*)::integer AS count FROM sidekey_proofs")))[0]?.["count"];
    await withSql(url, (sql) =>
      sql("INSERT INTO sidekey_proofs SELECT sha256(n::text::bytea), 1 FROM generate_series(1, 24000) AS n"),
    );
    passed = 120_000;
    expect(await storage.replays.firstUse("a", clock.now() + 1000)).toBe(true);
    await expect.poll(count).toBe(1);
  });

  it("takes no proof for seen or unseen that it does not know of", async () => {
    const { proxy, storage } = await throughProxy();
    const until = Date.now() + 60_000;
    proxy.arm("sidekey_proof", "after");
    expect((await failureOf(() => storage.replays.firstUse("one", until))).code).toBe("VAULT_STORE_BUSY");
    expect(await storage.replays.firstUse("one", until)).toBe(false);
    proxy.arm("sidekey_proof", "before");
    expect((await failureOf(() => storage.replays.firstUse("other", until))).code).toBe("VAULT_STORE_BUSY");
    expect(await storage.replays.firstUse("other", until)).toBe(true);
  });

  it("does not hold others up when its process stands still in a transaction", { timeout: 60_000 }, async () => {
    const url = await database();
    const storage = await open(url);
    // As a session of ours that never goes on: the server ends it.
    await withSql(url, async (sql) => {
      await sql("SET idle_in_transaction_session_timeout = '500ms'");
      await sql("BEGIN");
      await sql("SELECT generation FROM sidekey_state FOR UPDATE");
      expect(await countUp(storage, { runs: 0 })).toBe(1);
    });
    const [own] = await withSql(url, (sql) =>
      sql("SELECT count(*)::integer AS count FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"),
    );
    expect(own?.["count"]).toBe(0);
  });
});
