/**
 * Ruling 16: whatever became of a vault's file, opening it is a coded error that serves nothing, or gives exactly what was
 * stored; never the end of the process, never another value. Damage by rows is in test/unit/vault/barrier/integrity.test.ts too.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { chmod, rename, truncate, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { generateFernetKey } from "../../src/vault/barrier/fernet.ts";
import { openVault, type Vault } from "../../src/vault/index.ts";
import { openLmdb } from "../../src/vault/storage/lmdb.ts";
import type { Tx } from "../../src/vault/storage/storage.ts";
import { setup } from "../support/build.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";
import type { Outcome } from "./store-reader.ts";

const READER = new URL("store-reader.ts", import.meta.url).pathname;
const PAGE = 4096;
/** `SIDEKEY_DAMAGES=20000` for a longer look. */
const DAMAGES = Number(process.env["SIDEKEY_DAMAGES"] ?? 90);
const CANARY = "sk-canary-store-7d20c1";

const root = mkdtempSync(join(tmpdir(), "sidekey-damage-"));
const good = join(root, "good");
/** What the good store holds, by path. */
const stored: Record<string, string> = {};
/** Its file, and the same as it was some changes earlier. */
let whole = Buffer.alloc(0);
let earlier = Buffer.alloc(0);

const open = (state: string): Promise<Vault> =>
  openVault({ directory: join(state, "vault"), keys: { file: join(state, "vault.key") }, clock: systemClock });

const dataOf = (state: string): string => join(state, "vault", "data.mdb");

beforeAll(async () => {
  const vault = await open(good);
  for (let n = 0; n < 60; n += 1) {
    const path = `a/s${(n * 7) % 25}`;
    const value = `${CANARY}-${n}-${"v".repeat((n * 331) % 6000)}`;
    // In its place: a version of its own for each would leave no page free, and free pages are part of the file.
    if (stored[path] !== undefined) await vault.secrets.remove(path);
    await vault.secrets.set(path, SecretValue.fromText(value));
    stored[path] = value;
    if (n === 40) earlier = Buffer.from(readFileSync(dataOf(good)));
  }
  // Longer than any run of free pages, so that the file ends with what is stored: a free page there may be cut off.
  stored["a/last"] = `${CANARY}-last-${"v".repeat(60_000)}`;
  await vault.secrets.set("a/last", SecretValue.fromText(stored["a/last"]));
  await vault.close();
  whole = Buffer.from(readFileSync(dataOf(good)));
});

afterAll(() => {
  reader?.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});

/** A state directory with the good key and these bytes for a store. */
let places = 0;
const stateWith = (bytes: Uint8Array): string => {
  places += 1;
  const state = join(root, `s${places}`);
  mkdirSync(join(state, "vault"), { recursive: true, mode: 0o700 });
  copyFileSync(join(good, "vault.key"), join(state, "vault.key"));
  writeFileSync(dataOf(state), bytes, { mode: 0o600 });
  return state;
};

let reader: ChildProcess | undefined;
let answers: AsyncIterator<string> | undefined;

/** What the other process makes of it. */
const outcomeOf = async (state: string): Promise<Outcome> => {
  if (reader === undefined) {
    reader = spawn(process.execPath, ["--import", "tsx", READER], { stdio: ["pipe", "pipe", "inherit"] });
    if (reader.stdout === null) throw new Error("no standard output");
    answers = createInterface({ input: reader.stdout })[Symbol.asyncIterator]();
  }
  reader.stdin?.write(`${state}\n`);
  const line: string | undefined = (await answers?.next())?.value;
  if (line === undefined) throw new Error(`the process ended over ${state}`);
  return JSON.parse(line);
};

/** Refused with a code, or right in all it says. `true` when it was refused. */
const judge = async (bytes: Uint8Array, what: string): Promise<boolean> => {
  const state = stateWith(bytes);
  const { code, message = "", values, writing } = await outcomeOf(state);
  rmSync(state, { recursive: true, force: true });
  if (code === undefined) {
    expect(values, what).toEqual(stored);
    expect(writing, what).toBe("ok");
    return false;
  }
  expect(["VAULT_STORE_DAMAGED", "VAULT_STORE_BUSY"], `${what}: ${message}`).toContain(code);
  expect(message, what).not.toContain(CANARY);
  return true;
};

/** A generator with a seed, so that a failure can be had again. */
const createRandom = (seed: number) => {
  let state = seed | 1;
  return (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
};

const pages = (): number => whole.length / PAGE;

type Damage = (bytes: Buffer, random: (below: number) => number) => void;
const DAMAGE: Readonly<Record<string, Damage>> = {
  "a bit": (bytes, random) => flip(bytes, random(bytes.length), random(8)),
  "five bits": (bytes, random) => {
    for (let n = 0; n < 5; n += 1) flip(bytes, random(bytes.length), random(8));
  },
  "some bytes": (bytes, random) => {
    const at = random(bytes.length - 64);
    for (let n = 0; n <= random(64); n += 1) bytes[at + n] = random(256);
  },
  "a page, by another": (bytes, random) => void whole.copy(bytes, random(pages()) * PAGE, ...pageAt(random(pages()))),
  "a page, by another with the right number": (bytes, random) => {
    const [to, from] = [random(pages()), random(pages())];
    whole.copy(bytes, to * PAGE, ...pageAt(from));
    bytes.writeBigUInt64LE(BigInt(to), to * PAGE);
  },
  "a page, by its earlier self": (bytes, random) => {
    const at = random(earlier.length / PAGE);
    earlier.copy(bytes, at * PAGE, ...pageAt(at));
  },
  "a page, by nothing": (bytes, random) => void bytes.fill(0, ...pageAt(random(pages()))),
  "a page's header or offsets": (bytes, random) =>
    void bytes.writeUInt16LE(random(0x10000), random(pages()) * PAGE + 2 * random(40)),
  "a meta page": (bytes, random) => void bytes.writeUInt8(random(256), random(2) * PAGE + random(176)),
};

const flip = (bytes: Buffer, at: number, bit: number): void => {
  bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
};

const pageAt = (page: number): [number, number] => [page * PAGE, (page + 1) * PAGE];

describe("a vault's file that was damaged", { timeout: 600_000 }, () => {
  it("is refused or right, and ends no process, whatever was changed at random", async () => {
    const kinds = Object.entries(DAMAGE);
    const seed = Math.floor(Math.random() * 2 ** 31);
    let refused = 0;
    for (let n = 0; n < DAMAGES; n += 1) {
      const [name, damage] = kinds[n % kinds.length] ?? ["nothing", () => {}];
      const bytes = Buffer.from(whole);
      damage(bytes, createRandom(seed + n * 7919));
      if (await judge(bytes, `${name}, seed ${seed}, ${n}`)) refused += 1;
    }
    // What is damaged where nothing is stored does no harm; far from all of it is.
    expect(refused).toBeGreaterThan(DAMAGES / 20);
    console.info(`${DAMAGES} damaged files: ${refused} refused, the others right, no crash`);
  });

  it("is refused wherever it is cut", async () => {
    for (const size of [
      0,
      1,
      100,
      PAGE - 1,
      PAGE,
      PAGE + 1,
      2 * PAGE,
      3 * PAGE,
      whole.length / 2,
      whole.length - PAGE,
    ]) {
      expect(await judge(whole.subarray(0, size), `cut to ${size}`), `cut to ${size}`).toBe(true);
    }
  });

  it("is refused when it is another file, or none of its kind", async () => {
    const random = createRandom(4711);
    const garbage = Buffer.from(Array.from({ length: 20 * PAGE }, () => random(256)));
    for (const [what, bytes] of [
      ["zeroes", Buffer.alloc(whole.length)],
      ["garbage", garbage],
      ["a text", Buffer.from("secrets: {}\n".repeat(2000))],
      ["its meta pages alone", whole.subarray(0, 2 * PAGE)],
      [
        "its meta pages in each other's places",
        Buffer.concat([whole.subarray(PAGE, 2 * PAGE), whole.subarray(0, PAGE), whole.subarray(2 * PAGE)]),
      ],
      ["its second meta page twice", Buffer.concat([whole.subarray(PAGE, 2 * PAGE), whole.subarray(PAGE)])],
      [
        "its meta pages of before, over its rows",
        Buffer.concat([earlier.subarray(0, 2 * PAGE), whole.subarray(2 * PAGE)]),
      ],
      [
        "its rows of before, under its meta pages",
        Buffer.concat([whole.subarray(0, 2 * PAGE), earlier.subarray(2 * PAGE)]),
      ],
    ] as const) {
      expect(await judge(bytes, what), what).toBe(true);
    }
  });

  it("is used as it is when nothing is wrong with it", async () => {
    expect(await judge(whole, "nothing")).toBe(false);
  });

  it("is what it was, when the whole of it is an older copy: that cannot be told from within", async () => {
    const { code, values = {}, writing } = await outcomeOf(stateWith(earlier));
    expect([code, writing]).toEqual([undefined, "ok"]);
    for (const value of Object.values(values)) expect(value.startsWith(`${CANARY}-`)).toBe(true);
    expect(values).not.toEqual(stored);
  });

  it("is sound with any lock file beside it", async () => {
    const random = createRandom(815);
    for (const lock of [
      Buffer.alloc(0),
      Buffer.alloc(8192),
      Buffer.from(Array.from({ length: 8272 }, () => random(256))),
    ]) {
      const state = stateWith(whole);
      writeFileSync(join(state, "vault", "lock.mdb"), lock, { mode: 0o600 });
      expect((await outcomeOf(state)).values).toEqual(stored);
    }
  });
});

describe("the program, on a vault that is not as it was left", { timeout: 120_000 }, () => {
  let work: Workspace;
  beforeAll(setup, 120_000);
  const PATH = "production/x/key";
  const data = (): string => work.at(".sidekey/vault/data.mdb");
  const key = (): string => work.at(".sidekey/vault.key");

  const rows = async (change: (tx: Tx) => void): Promise<void> => {
    const storage = await openLmdb(work.at(".sidekey/vault"));
    await storage.write(change);
    await storage.close();
  };

  const earlyRow = async (): Promise<Buffer> => {
    const storage = await openLmdb(work.at(".sidekey/vault"));
    const row = await storage.read((tx) => tx.get(`meta:${PATH}`));
    await storage.close();
    return row ?? Buffer.alloc(0);
  };

  let early: Buffer = Buffer.alloc(0);
  const replaced = (tx: Tx): void => {
    if (early.length === 0) throw new Error("no row of before");
    tx.put(`meta:${PATH}`, early);
  };

  const cases: readonly [string, string, number, () => Promise<void>][] = [
    ["its file is cut", "VAULT_STORE_DAMAGED", 2, () => truncate(data(), 3 * PAGE)],
    ["its file is empty", "VAULT_STORE_DAMAGED", 2, () => truncate(data(), 0)],
    ["its file is something else", "VAULT_STORE_DAMAGED", 2, async () => writeFileSync(data(), "x".repeat(40_000))],
    ["a row was deleted", "VAULT_STORE_DAMAGED", 2, () => rows((tx) => tx.remove("value:production/other/key@1"))],
    ["an older row was put back", "VAULT_STORE_DAMAGED", 2, () => rows(replaced)],
    ["its key is another", "VAULT_KEY_WRONG", 1, async () => writeFileSync(key(), `${generateFernetKey()}\n`)],
    ["its key is gone", "VAULT_KEY_UNREADABLE", 1, () => unlink(key())],
    ["its key can be read by others", "VAULT_KEY_UNREADABLE", 1, () => chmod(key(), 0o644)],
    [
      "a directory is in its file's place",
      "VAULT_STORE_BUSY",
      1,
      async () => {
        await rename(data(), `${data()}.aside`);
        mkdirSync(data());
      },
    ],
  ];

  it.each(cases)("says so and serves nothing when %s", async (_what, name, code, spoil) => {
    work = createWorkspace();
    try {
      const vault = await openVault({
        directory: work.at(".sidekey/vault"),
        keys: { file: key() },
        clock: systemClock,
      });
      await vault.secrets.set(PATH, SecretValue.fromText(`${CANARY}-1`));
      await vault.secrets.set("production/other/key", SecretValue.fromText(`${CANARY}-other`));
      early = await earlyRow();
      await vault.secrets.rotate(PATH, SecretValue.fromText(`${CANARY}-2`));
      await vault.close();
      work.write(
        "sidekey.yaml",
        `version: 1\nlisten: { proxy: "127.0.0.1:0" }\nroutes: { api.example.test: ${PATH} }\n`,
      );
      await spoil();
      for (const args of [["secret", "get", PATH, "--reveal"], ["start"]]) {
        const told = await work.sidekey(args);
        expect({ args, code: told.code, stdout: told.stdout }).toEqual({ args, code, stdout: "" });
        expect(told.stderr).toContain(`sidekey: ${name}: `);
        expect(told.stderr).toMatch(/\nhint: \S/);
        expect(told.stderr).not.toContain(CANARY);
        if (name === "VAULT_STORE_DAMAGED") expect(told.stderr).toContain("sidekey vault restore");
      }
      const written = await work.sidekey(["secret", "set", PATH], { input: `${CANARY}-3` });
      expect([written.code, written.stderr.includes(name)]).toEqual([code, true]);
    } finally {
      work.remove();
    }
  });
});
