import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { openLmdb } from "../../../../src/vault/storage/lmdb.ts";
import type { EmbeddedStorage, Watchable } from "../../../../src/vault/storage/storage.ts";
import { afterTest, codeOf, temporaryDirectory } from "../support.ts";

const open = async (directory: string): Promise<EmbeddedStorage & Watchable> => {
  const storage = await openLmdb(directory);
  afterTest(() => storage.close());
  return storage;
};

const fresh = async (): Promise<{ storage: EmbeddedStorage & Watchable; directory: string }> => {
  const directory = join(await temporaryDirectory(), "vault");
  return { storage: await open(directory), directory };
};

const put = (storage: EmbeddedStorage, key: string, value: string): Promise<void> =>
  storage.write((tx) => tx.put(key, Buffer.from(value)));

const get = async (storage: EmbeddedStorage, key: string): Promise<string | undefined> =>
  (await storage.read((tx) => tx.get(key)))?.toString();

const peek = (storage: EmbeddedStorage, key: string): Buffer | undefined => storage.readNow((tx) => tx.get(key));

interface OtherProcess {
  readonly child: ChildProcess;
  ask(line: string): Promise<string>;
  next(): Promise<string>;
}

const otherProcess = async (directory: string): Promise<OtherProcess> => {
  const program = new URL("other-process.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, ["--import", "tsx", program, directory], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exit = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  afterTest(() => {
    child.kill("SIGKILL");
    return exit;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => (await lines.next()).value ?? "";
  expect(await next()).toBe("open");
  return {
    child,
    next,
    ask(line) {
      child.stdin.write(`${line}\n`);
      return next();
    },
  };
};

describe("openLmdb", () => {
  it("makes a directory and files for their owner alone, whatever the umask", async () => {
    const before = process.umask(0);
    try {
      const { directory } = await fresh();
      const modes = await Promise.all(["", "data.mdb", "lock.mdb"].map((name) => stat(join(directory, name))));
      expect(modes.map(({ mode }) => (mode & 0o777).toString(8))).toEqual(["700", "600", "600"]);
    } finally {
      process.umask(before);
    }
  });

  it("closes a directory and a data file that came with wider modes", async () => {
    const { storage, directory } = await fresh();
    await storage.close();
    await chmod(join(directory, "data.mdb"), 0o644);
    await chmod(directory, 0o777);
    await open(directory);
    expect((await stat(join(directory, "data.mdb"))).mode & 0o777).toBe(0o600);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  it("keeps what was written when it is opened again", async () => {
    const { storage, directory } = await fresh();
    await put(storage, "a", "1");
    await storage.close();
    expect(await get(await open(directory), "a")).toBe("1");
  });

  it("names a directory that cannot be one", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "plain"), "");
    expect(await codeOf(() => openLmdb(join(directory, "plain")))).toBe("VAULT_STORE_BUSY");
    await mkdir(join(directory, "odd", "data.mdb"), { recursive: true });
    expect(await codeOf(() => openLmdb(join(directory, "odd")))).toBe("VAULT_STORE_BUSY");
  });
});

describe("a write transaction", () => {
  it("sees its own rows and undoes all of them when it throws", async () => {
    const { storage } = await fresh();
    await put(storage, "kept", "1");
    const generation = storage.generation();
    const failing = storage.write((tx) => {
      tx.put("a", Buffer.from("1"));
      tx.remove("kept");
      expect([tx.get("a")?.toString(), tx.get("kept")]).toEqual(["1", undefined]);
      expect(tx.range("").map(({ key }) => key)).toContain("a");
      throw new RangeError("stop");
    });
    await expect(failing).rejects.toMatchObject({ code: "VAULT_STORE_BUSY", cause: { message: "stop" } });
    expect([await get(storage, "a"), await get(storage, "kept")]).toEqual([undefined, "1"]);
    expect(storage.generation()).toBe(generation);
    const mistaken = storage.write(() => {
      throw new TypeError("a mistake of ours");
    });
    await expect(mistaken).rejects.toBeInstanceOf(TypeError);
  });

  it("undoes only itself when many run at once", async () => {
    const { storage } = await fresh();
    const writes = Array.from({ length: 20 }, (_, n) =>
      storage.write((tx) => {
        tx.put(`row${n}`, Buffer.from("x"));
        if (n % 3 === 0) throw new RangeError("stop");
      }),
    );
    await Promise.allSettled(writes);
    const rows = await storage.read((tx) => tx.range("row"));
    expect(rows).toHaveLength(13);
  });

  it("counts up the generation by one", async () => {
    const { storage } = await fresh();
    expect(storage.generation()).toBe(0);
    for (const expected of [1, 2, 3]) {
      await put(storage, "a", "1");
      expect(storage.generation()).toBe(expected);
    }
    await storage.read((tx) => tx.get("a"));
    expect(storage.generation()).toBe(3);
  });

  it("lets the store be opened once more meanwhile", async () => {
    // Opening waits for the file's lock on the main thread, which the write needs to go on.
    const { storage, directory } = await fresh();
    for (let n = 0; n < 20; n += 1) {
      const written = put(storage, "a", String(n));
      await new Promise(setImmediate);
      const other = await openLmdb(directory);
      await written;
      expect(await get(other, "a")).toBe(String(n));
      await other.close();
      expect(await get(storage, "a")).toBe(String(n));
    }
  });

  it("says whether it removed a row", async () => {
    const { storage } = await fresh();
    await put(storage, "a", "1");
    expect(await storage.write((tx) => [tx.remove("a"), tx.remove("a")])).toEqual([true, false]);
  });
});

describe("reading", () => {
  it("hands out bytes of its own, that later reads and writes leave alone", async () => {
    const { storage } = await fresh();
    await put(storage, "r1", "first");
    await put(storage, "r2", "second");
    const rows = await storage.read((tx) => tx.range("r"));
    const peeked = peek(storage, "r1");
    await storage.write((tx) => {
      tx.put("r1", Buffer.from("FIRST"));
      tx.remove("r2");
      for (let n = 0; n < 200; n += 1) tx.put(`x${n}`, Buffer.alloc(4000, 0x7a));
    });
    expect(rows.map(({ key, value }) => `${key}=${value}`)).toEqual(["r1=first", "r2=second"]);
    expect(peeked?.toString()).toBe("first");
    expect(peek(storage, "r1")?.toString()).toBe("FIRST");
  });

  it("gives a range in order, from the prefix to its end", async () => {
    const { storage } = await fresh();
    for (const key of ["b", "a:2", "a:10", "a:", "a;", "A:1", "a"]) await put(storage, key, "x");
    expect((await storage.read((tx) => tx.range("a:"))).map(({ key }) => key)).toEqual(["a:", "a:10", "a:2"]);
    expect(await storage.read((tx) => tx.range("c"))).toEqual([]);
  });

  it("fails with a code after close", async () => {
    const { storage } = await fresh();
    await storage.close();
    expect(await codeOf(() => storage.generation())).toBe("VAULT_STORE_BUSY");
    expect(await codeOf(() => peek(storage, "a"))).toBe("VAULT_STORE_BUSY");
    expect(await codeOf(() => storage.read((tx) => tx.get("a")))).toBe("VAULT_STORE_BUSY");
    expect(await codeOf(() => storage.write((tx) => tx.put("a", Buffer.from("1"))))).toBe("VAULT_STORE_BUSY");
  });
});

describe("watching", () => {
  it("tells of what was written since, also by another that has it open, and never what was there", async () => {
    const { storage, directory } = await fresh();
    await put(storage, "a", "1");
    const heard: number[] = [];
    const end = await storage.watch((generation) => heard.push(generation));
    await put(storage, "a", "2");
    await expect.poll(() => heard).toEqual([2]);
    const other = await open(directory);
    await put(other, "a", "3");
    await expect.poll(() => heard).toEqual([2, 3]);
    await end();
    await put(storage, "a", "4");
    // A watch that began later has heard of it: the ended one would have as well.
    const later: number[] = [];
    await storage.watch((generation) => later.push(generation));
    await put(storage, "a", "5");
    await expect.poll(() => later).toEqual([5]);
    expect(heard).toEqual([2, 3]);
  });

  it("fails with a code after close, and ends with it", async () => {
    const { storage } = await fresh();
    await storage.watch(() => {
      throw new Error("it was called");
    });
    await storage.close();
    expect(await codeOf(() => storage.watch(() => {}))).toBe("VAULT_STORE_BUSY");
  });
});

describe("two processes on one store", { timeout: 60_000 }, () => {
  it("see each other's commits at once", async () => {
    const { storage, directory } = await fresh();
    const other = await otherProcess(directory);
    for (let n = 1; n <= 20; n += 1) {
      const before = storage.generation();
      expect(peek(storage, "a")?.toString()).toBe(n === 1 ? undefined : String(n - 1));
      await other.ask(`put a ${n}`);
      expect(storage.generation()).toBe(before + 1);
      expect(peek(storage, "a")?.toString()).toBe(String(n));
    }
    await put(storage, "b", "mine");
    expect(await other.ask("generation")).toBe(String(storage.generation()));
  });

  it("follow each other when the file outgrows what was mapped", async () => {
    const { storage, directory } = await fresh();
    const other = await otherProcess(directory);
    const megabytes = 72;
    for (let n = 0; n < 3; n += 1) await other.ask(`fill big${n} ${(megabytes / 3) * 1024 * 1024}`);
    await other.ask("put last 1");
    expect(peek(storage, "last")?.toString()).toBe("1");
    expect(peek(storage, "big2")?.length).toBe((megabytes / 3) * 1024 * 1024);
    await put(storage, "mine", "1");
    expect(await other.ask("generation")).toBe(String(storage.generation()));
  });

  it("lose no acknowledged write when one is killed", async () => {
    const { storage, directory } = await fresh();
    for (let round = 0; round < 3; round += 1) {
      const other = await otherProcess(directory);
      let last = Number(await other.ask(`count n${round}`));
      while (last < 20 + round * 7) last = Number(await other.next());
      other.child.kill("SIGKILL");
      await new Promise((resolve) => other.child.once("exit", resolve));
      expect(Number(peek(storage, `n${round}`)?.toString())).toBeGreaterThanOrEqual(last);
      await put(storage, `after${round}`, "1");
      expect(await get(storage, `after${round}`)).toBe("1");
    }
  });

  it("go on when one exits in the middle of a write, which would wait for itself", async () => {
    const { storage, directory } = await fresh();
    const other = await otherProcess(directory);
    await other.ask("put kept 1");
    other.child.stdin?.write("exit\n");
    await new Promise((resolve) => other.child.once("exit", resolve));
    expect(await get(storage, "kept")).toBe("1");
    await put(storage, "mine", "1");
  });

  it("keep the file as small as it was when one is killed while it reads", async () => {
    const { storage, directory } = await fresh();
    const writeOver = async (): Promise<number> => {
      for (let n = 0; n < 400; n += 1) {
        await storage.write((tx) => tx.put(`k${n % 8}`, Buffer.alloc(20_000, n)));
      }
      return (await stat(join(directory, "data.mdb"))).size;
    };
    const before = await writeOver();
    const other = await otherProcess(directory);
    other.child.stdin?.write("die k1\n");
    await new Promise((resolve) => other.child.once("exit", resolve));
    // What it had read is kept for a while, and not for ever: 8 MB are written over.
    expect(await writeOver()).toBeLessThan(before + 4_000_000);
  });
});
