import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { codeOf, failureOf, openTestVault, START, withGuardedRows } from "../support.ts";

const secret = (value: string): SecretValue => SecretValue.fromText(value);
const PEM = "-----BEGIN X-----\nabc\r\n\tdef\n-----END X-----\n";

describe("rolling back", () => {
  it("makes the value of an earlier version the newest, and says which one it was", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { tier: "critical", metadata: { a: 1 } });
    await vault.secrets.set("a/b", secret("two"));
    expect(await vault.secrets.rollback("a/b", 1, { by: "ann" })).toMatchObject({
      version: 3,
      tier: "critical",
      metadata: { a: 1 },
    });
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe("one");
    expect((await vault.secrets.get("a/b", 2)).value.lend(String)).toBe("two");
    expect((await vault.secrets.history("a/b"))[0]).toEqual({ version: 3, createdAt: START, by: "ann", restored: 1 });
  });

  it("brings back within the grace what a rotation is about to close, and nothing that it closed", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    await vault.secrets.rotate("a/b", secret("two"), { graceMs: 1000 });
    clock.advance(999);
    expect(await vault.secrets.rollback("a/b", 1)).toMatchObject({ version: 3 });
    clock.advance(1);
    expect(await codeOf(() => vault.secrets.rollback("a/b", 1))).toBe("VAULT_SECRET_MISSING");
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe("one");
  });

  it("finds no version that is not there, and changes nothing then", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    const generation = vault.generation();
    for (const version of [0, 2, -1, 1.5, Number.NaN]) {
      expect(await codeOf(() => vault.secrets.rollback("a/b", version))).toBe("VAULT_SECRET_MISSING");
    }
    expect(await codeOf(() => vault.secrets.rollback("a/none", 1))).toBe("VAULT_SECRET_MISSING");
    expect(vault.generation()).toBe(generation);
  });
});

describe("what a rotation closed", () => {
  it("does not open again with a clock that is set back, nor at a replica whose clock is behind", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    clock.advance(1000);
    await vault.secrets.rotate("a/b", secret("two"), { graceMs: 5000 });
    clock.advance(5000);
    await vault.secrets.rotate("a/b", secret("three"));
    clock.setWall(START + 2000);
    for (const version of [1, 2]) {
      expect(await codeOf(() => vault.secrets.get("a/b", version))).toBe("VAULT_SECRET_MISSING");
      expect(await codeOf(() => vault.secrets.rollback("a/b", version))).toBe("VAULT_SECRET_MISSING");
    }
    expect(await vault.secrets.replacedSince("a/b", 3, 0)).toEqual([]);
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe("three");
    await vault.secrets.set("a/b", secret("four"));
    expect(await codeOf(() => vault.secrets.get("a/b", 1))).toBe("VAULT_SECRET_MISSING");
  });
});

describe("the history of a secret that is written again and again", () => {
  it("holds the last hundred versions that are over, of a secret that is the same one all the while", async () => {
    const { vault, clock } = await openTestVault();
    const { id, createdAt } = await vault.secrets.set("a/b", secret("0"));
    for (let n = 1; n <= 150; n += 1) {
      clock.advance(1000);
      await vault.secrets.rotate("a/b", secret(`${n}`));
    }
    const versions = (await vault.secrets.history("a/b")).map(({ version }) => version);
    expect([versions.length, versions[0], versions.at(-1)]).toEqual([101, 151, 51]);
    expect(await vault.secrets.find("a/b")).toMatchObject({ id, createdAt, version: 151 });
    expect((await vault.secrets.set("a/b", secret("x"))).version).toBe(152);
  });

  it("holds a thousand at most, and no value of one that it does not hold", { timeout: 60_000 }, async () => {
    const { vault, state, clock } = await openTestVault();
    for (let n = 1; n <= 1020; n += 1) await vault.secrets.set("a/b", secret(`${n}`));
    expect(await codeOf(() => vault.secrets.get("a/b", 20))).toBe("VAULT_SECRET_MISSING");
    expect((await vault.secrets.get("a/b", 21)).value.lend(String)).toBe("21");
    expect(await vault.secrets.history("a/b")).toHaveLength(1000);
    await vault.secrets.remove("a/b");
    await vault.close();
    await withGuardedRows({ state, clock }, async (storage) => {
      expect(await storage.read((tx) => tx.range("value:").length)).toBe(0);
    });
  });
});

describe("the end of a secret", () => {
  it("goes with its value when a rollback gives that another number", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 1000 });
    await vault.secrets.set("a/b", secret("two"), { expiresAt: null });
    expect((await vault.secrets.rollback("a/b", 1)).expiresAt).toBe(START + 1000);
    await vault.secrets.describe("a/b", { expiresAt: START + 500 });
    expect((await vault.secrets.rollback("a/b", 2)).expiresAt).toBe(START + 500);
    expect((await vault.secrets.rollback("a/b", 1)).expiresAt).toBe(START + 500);
    clock.advance(500);
    expect(await codeOf(() => vault.secrets.get("a/b"))).toBe("VAULT_SECRET_EXPIRED");
  });

  it("is the end of reading it, not of knowing it", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 1000 });
    clock.advance(999);
    expect((await vault.secrets.get("a/b")).expiresAt).toBe(START + 1000);
    clock.advance(1);
    const error = await failureOf(() => vault.secrets.get("a/b"));
    expect(error.code).toBe("VAULT_SECRET_EXPIRED");
    expect(inspect(error)).not.toContain("one");
    expect(await codeOf(() => vault.secrets.get("a/b", 1))).toBe("VAULT_SECRET_EXPIRED");
    expect(await codeOf(() => vault.secrets.rollback("a/b", 1))).toBe("VAULT_SECRET_EXPIRED");
    expect(await vault.secrets.find("a/b")).toMatchObject({ version: 1 });
    expect(await vault.secrets.list()).toHaveLength(1);
  });

  it("holds for new versions until it has come; what comes after it has none of its own", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 1000 });
    expect((await vault.secrets.rotate("a/b", secret("two"), { graceMs: 5000 })).expiresAt).toBe(START + 1000);
    clock.advance(1000);
    expect(await codeOf(() => vault.secrets.get("a/b"))).toBe("VAULT_SECRET_EXPIRED");
    expect((await vault.secrets.set("a/b", secret("three"))).expiresAt).toBeUndefined();
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe("three");
    for (const version of [1, 2]) {
      expect(await codeOf(() => vault.secrets.get("a/b", version))).toBe("VAULT_SECRET_EXPIRED");
    }
  });

  it("is told with the value, for the version that was asked for", async () => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 3000 });
    await vault.secrets.set("a/b", secret("two"), { expiresAt: null });
    const ends = async () => {
      const found = await Promise.all([1, 2].map((version) => vault.secrets.get("a/b", version)));
      return found.map(({ expiresAt, readableUntil }) => [expiresAt, readableUntil]);
    };
    const none = [undefined, undefined];
    expect(await ends()).toEqual([[START + 3000, START + 3000], none]);
    await vault.secrets.rotate("a/b", secret("three"), { graceMs: 1000 });
    expect(await ends()).toEqual([
      [START + 3000, START + 1000],
      [undefined, START + 1000],
    ]);
    expect(await vault.secrets.get("a/b")).toMatchObject({ expiresAt: undefined, readableUntil: undefined });
  });

  it("can be moved or lifted, and an earlier version never outlives it", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"));
    await vault.secrets.set("a/b", secret("two"));
    await vault.secrets.describe("a/b", { expiresAt: START + 1000 });
    clock.advance(1000);
    for (const version of [1, 2]) {
      expect(await codeOf(() => vault.secrets.get("a/b", version))).toBe("VAULT_SECRET_EXPIRED");
    }
    await vault.secrets.describe("a/b", { expiresAt: START + 5000 });
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe("two");
    expect(await codeOf(() => vault.secrets.get("a/b", 1))).toBe("VAULT_SECRET_EXPIRED");
    await vault.secrets.describe("a/b", { expiresAt: null });
    clock.advance(10_000);
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe("two");
  });

  it("is told of once, to one of several who ask", async () => {
    const { vault, clock, state } = await openTestVault();
    const other = await openTestVault({ state, clock });
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 1000 });
    await vault.secrets.set("a/c", secret("one"), { expiresAt: START + 2000 });
    await vault.secrets.set("a/d", secret("one"));
    expect(await vault.secrets.takeExpired()).toEqual([]);
    clock.advance(1000);
    const taken = await Promise.all([vault.secrets.takeExpired(), other.vault.secrets.takeExpired()]);
    expect(taken.flat()).toEqual([{ path: "a/b", version: 1, expiresAt: START + 1000 }]);
    await vault.secrets.expiryTold(taken.flat());
    clock.advance(100_000);
    expect(await other.vault.secrets.takeExpired()).toMatchObject([{ path: "a/c" }]);
    const generation = vault.generation();
    expect(await vault.secrets.takeExpired()).toEqual([]);
    expect(vault.generation()).toBe(generation);
  });

  it("is told of again by another when the one who took it did not come to tell", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 1000 });
    clock.advance(1000);
    expect(await vault.secrets.takeExpired()).toHaveLength(1);
    clock.advance(59_999);
    expect(await vault.secrets.takeExpired()).toEqual([]);
    clock.advance(1);
    expect(await vault.secrets.takeExpired()).toHaveLength(1);
  });

  it("is told of some at a time where thousands end at once, in one change each time", async () => {
    const { vault, clock } = await openTestVault();
    const options = { expiresAt: START + 1000 };
    await Promise.all(Array.from({ length: 600 }, (_, n) => vault.secrets.set(`a/s${n}`, secret("one"), options)));
    clock.advance(1000);
    const counts: number[] = [];
    for (;;) {
      const taken = await vault.secrets.takeExpired();
      if (taken.length === 0) break;
      const before = await vault.changes.current();
      await vault.secrets.expiryTold(taken);
      const [told, ...more] = (await vault.changes.since(before)) ?? [];
      expect([told?.changes.length, more]).toEqual([taken.length, []]);
      counts.push(taken.length);
    }
    expect(counts).toEqual([500, 100]);
  });

  it("is told of anew after it was moved and came again", async () => {
    const { vault, clock } = await openTestVault();
    await vault.secrets.set("a/b", secret("one"), { expiresAt: START + 1000 });
    clock.advance(1000);
    const first = await vault.secrets.takeExpired();
    await vault.secrets.describe("a/b", { expiresAt: START + 5000 });
    await vault.secrets.expiryTold(first);
    clock.advance(4000);
    expect(await vault.secrets.takeExpired()).toEqual([{ path: "a/b", version: 1, expiresAt: START + 5000 }]);
  });
});

describe("values that were replaced", () => {
  it("are those of the time asked for, also what a rotation closed, for ten minutes", async () => {
    const { vault, clock } = await openTestVault();
    const replaced = async (version: number, since: number) =>
      (await vault.secrets.replacedSince("a/b", version, since)).map((one) => [one.value.lend(String), one.replacedAt]);
    for (const value of ["one", "two", "three"]) {
      await vault.secrets.set("a/b", secret(value));
      clock.advance(1000);
    }
    expect(await replaced(3, START)).toEqual([
      ["two", START + 2000],
      ["one", START + 1000],
    ]);
    expect(await replaced(3, START + 1000)).toEqual([["two", START + 2000]]);
    expect(await replaced(2, START)).toEqual([["one", START + 1000]]);
    expect(await replaced(1, START)).toEqual([]);
    await vault.secrets.rotate("a/b", secret("four"), { graceMs: 500 });
    expect(await replaced(4, START + 2000)).toEqual([["three", START + 3000]]);
    clock.advance(500);
    expect(await codeOf(() => vault.secrets.get("a/b", 3))).toBe("VAULT_SECRET_MISSING");
    expect(await replaced(4, START + 2000)).toEqual([["three", START + 3000]]);
    clock.advance(599_999);
    expect(await replaced(4, START + 2000)).toEqual([["three", START + 3000]]);
    clock.advance(1);
    expect(await replaced(4, START + 2000)).toEqual([]);
    await vault.secrets.set("a/b", { backend: "vault", ref: "x" });
    await vault.secrets.set("a/b", secret("six"));
    expect(await replaced(6, START)).toEqual([["four", START + 603_500]]);
    expect(await codeOf(() => vault.secrets.replacedSince("a/none", 1, START))).toBe("VAULT_SECRET_MISSING");
  });
});

describe("values of several lines", () => {
  it.each(["ssh_key", "certificate", "custom"])("are for type %s, to the byte", async (type) => {
    const { vault } = await openTestVault();
    await vault.secrets.set("a/b", secret(PEM), { type });
    await vault.secrets.rotate("a/b", secret(`${PEM}2`));
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe(`${PEM}2`);
  });

  it.each([undefined, "api_key", "oauth_token", "db_credential", "payment_credential", "my-own-word"])(
    "are not for type %s, also where the type comes later",
    async (type) => {
      const { vault } = await openTestVault();
      const said = type === undefined ? {} : { type };
      expect(await codeOf(() => vault.secrets.set("a/b", secret(PEM), said))).toBe("VAULT_BAD_VALUE");
      if (type === undefined) return;
      await vault.secrets.set("a/b", secret(PEM), { type: "custom" });
      expect(await codeOf(() => vault.secrets.describe("a/b", said))).toBe("VAULT_BAD_VALUE");
      expect(await codeOf(() => vault.secrets.rotate("a/b", secret(PEM), said))).toBe("VAULT_BAD_VALUE");
      expect(await vault.secrets.find("a/b")).toMatchObject({ type: "custom", version: 1 });
      // Nor does an earlier one come back under another type.
      await vault.secrets.set("a/b", secret("one line"), said);
      expect(await codeOf(() => vault.secrets.rollback("a/b", 1))).toBe("VAULT_BAD_VALUE");
    },
  );

  it("hold no other control character, whatever the type", async () => {
    const { vault } = await openTestVault();
    for (const control of ["\0", "\x01", "\x0b", "\x0c", "\x1b", "\x7f"]) {
      const value = secret(`a\n${control}b`);
      expect(await codeOf(() => vault.secrets.set("a/b", value, { type: "ssh_key" }))).toBe("VAULT_BAD_VALUE");
    }
  });
});

describe("references", () => {
  const reference = { backend: "aws_sm", ref: "arn:aws:secretsmanager:eu-west-1:1:secret:x" } as const;

  it("are kept in the place of a value, and are not read by this version", async () => {
    const at = await openTestVault();
    const { vault } = at;
    expect(await vault.secrets.set("a/b", reference, { tier: "sensitive" })).toMatchObject({ version: 1, reference });
    expect(await codeOf(() => vault.secrets.get("a/b"))).toBe("VAULT_BACKEND_UNAVAILABLE");
    await vault.secrets.set("a/b", secret("now here"));
    expect((await vault.secrets.get("a/b")).value.lend(String)).toBe("now here");
    expect(await codeOf(() => vault.secrets.get("a/b", 1))).toBe("VAULT_BACKEND_UNAVAILABLE");
    expect(await vault.secrets.rollback("a/b", 1)).toMatchObject({ version: 3, reference });
    await vault.secrets.importAll([{ path: "a/b", value: secret("imported") }]);
    expect(await vault.secrets.find("a/b")).toMatchObject({ version: 4, reference: undefined });
    await vault.close();
    await withGuardedRows(at, async (storage) => {
      const keys = await storage.read((tx) => tx.range("value:").map(({ key }) => key));
      expect(keys).toEqual(["value:a/b@2", "value:a/b@4"]);
    });
  });

  it.each([
    ["another backend", { backend: "gcp", ref: "x" }],
    ["nothing", { backend: "vault", ref: "" }],
    ["a line break", { backend: "vault", ref: "a\nb" }],
    ["too much", { backend: "vault", ref: "x".repeat(2049) }],
  ])("to %s are refused", async (_, wrong) => {
    const { vault } = await openTestVault();
    expect(await codeOf(() => vault.secrets.set("a/b", wrong as never))).toBe("VAULT_BAD_METADATA");
    expect(await vault.secrets.list()).toEqual([]);
  });
});
