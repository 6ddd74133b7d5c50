import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { type Barrier, createBarrier, openJson, recallJson, sealJson } from "../../../../src/vault/barrier/barrier.ts";
import {
  type FernetKey,
  generateFernetKey,
  openFernet,
  parseFernetKey,
  sealFernet,
} from "../../../../src/vault/barrier/fernet.ts";
import { codeOf, createTestClock, failureOf, START } from "../support.ts";

const newKey = (): FernetKey => {
  const key = parseFernetKey(generateFernetKey());
  if (key === undefined) throw new Error("no key");
  return key;
};
const clock = createTestClock();
const first = newKey();
const second = newKey();
const barrierOf = (...keys: FernetKey[]): Barrier => createBarrier({ keys }, clock);
const row = { path: "production/x/key", version: 3 };

describe("createBarrier", () => {
  it("seals the record of ruling 15", () => {
    const sealed = barrierOf(first).seal(row, Buffer.from("value"));
    const message = openFernet(first, sealed.toString(), { now: START });
    expect(JSON.parse(message?.toString() ?? "")).toEqual({ v: 1, ...row, value: "dmFsdWU=" });
  });

  it("gives every byte back", () => {
    const barrier = barrierOf(first);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (value) => {
        expect(barrier.open(row, barrier.seal(row, value))).toEqual(Buffer.from(value));
      }),
    );
  });

  it("opens a record only as the row it was sealed for", async () => {
    const barrier = barrierOf(first);
    const sealed = barrier.seal(row, Buffer.from("value"));
    for (const other of [
      { ...row, version: 2 },
      { ...row, path: "production/x/key2" },
      { path: "a/b", version: 0 },
    ]) {
      expect(await codeOf(() => barrier.open(other, sealed))).toBe("VAULT_STORE_DAMAGED");
    }
  });

  it("seals with the first key and opens with any", () => {
    const old = barrierOf(second).seal(row, Buffer.from("old"));
    const both = barrierOf(first, second);
    expect(both.open(row, old).toString()).toBe("old");
    expect(
      barrierOf(first)
        .open(row, both.seal(row, Buffer.from("new")))
        .toString(),
    ).toBe("new");
  });

  it("says that the key is wrong when none opens it", async () => {
    const sealed = barrierOf(second).seal(row, Buffer.from("value"));
    expect(await codeOf(() => barrierOf(first).open(row, sealed))).toBe("VAULT_KEY_WRONG");
    expect(await codeOf(() => barrierOf(first).open(row, Buffer.from("garbage")))).toBe("VAULT_KEY_WRONG");
  });

  it("opens whatever the clock says", () => {
    const early = createTestClock();
    const sealed = createBarrier({ keys: [first] }, early).seal(row, Buffer.from("value"));
    early.setWall(0);
    expect(
      createBarrier({ keys: [first] }, early)
        .open(row, sealed)
        .toString(),
    ).toBe("value");
  });

  it("takes a sealed text that is no record as damage, and repeats nothing of it", async () => {
    for (const text of [
      "canary-4711",
      '{"v":2,"path":"production/x/key","version":3,"value":"Y2FuYXJ5"}',
      '"canary"',
      "{}",
    ]) {
      const sealed = Buffer.from(sealFernet(first, Buffer.from(text), START));
      const error = await failureOf(() => barrierOf(first).open(row, sealed));
      expect(error.code).toBe("VAULT_STORE_DAMAGED");
      expect(inspect(error, { depth: 10 })).not.toMatch(/canary|Y2FuYXJ5/);
    }
  });

  it("keeps JSON rows apart by name and checks their shape", async () => {
    const barrier = barrierOf(first);
    const schema = z.strictObject({ n: z.number() });
    const sealed = sealJson(barrier, "meta:a/b", { n: 1 });
    expect(openJson(barrier, "meta:a/b", sealed, schema)).toEqual({ n: 1 });
    expect(await codeOf(() => openJson(barrier, "meta:a/c", sealed, schema))).toBe("VAULT_STORE_DAMAGED");
    const other = sealJson(barrier, "meta:a/b", { n: "1" });
    expect(await codeOf(() => openJson(barrier, "meta:a/b", other, schema))).toBe("VAULT_STORE_DAMAGED");
  });
});

describe("recallJson", () => {
  const schema = z.strictObject({ name: z.string(), list: z.array(z.number()) });
  const value = { name: "a", list: [1, 2] };

  it("opens the same bytes of a row once, and what changed anew", () => {
    const barrier = barrierOf(first);
    const sealed = sealJson(barrier, "token:1", value);
    const read = recallJson(barrier, "token:1", sealed, schema);
    expect(read).toEqual(value);
    // The store's buffer is its own to use again.
    const again = Buffer.from(sealed);
    sealed.fill(0);
    expect(recallJson(barrier, "token:1", again, schema)).toBe(read);
    const changed = sealJson(barrier, "token:1", { name: "b", list: [] });
    expect(recallJson(barrier, "token:1", changed, schema)).toEqual({ name: "b", list: [] });
    expect(recallJson(barrier, "token:1", again, schema)).toEqual(value);
  });

  it("gives nobody the means to change what others get", () => {
    const barrier = barrierOf(first);
    const read = recallJson(barrier, "token:1", sealJson(barrier, "token:1", value), schema);
    expect(() => read.list.push(3)).toThrow(TypeError);
    expect(() => Object.assign(read, { name: "b" })).toThrow(TypeError);
  });

  it("takes one row's bytes for no other row, and no damaged ones", async () => {
    const barrier = barrierOf(first);
    const sealed = sealJson(barrier, "token:1", value);
    recallJson(barrier, "token:1", sealed, schema);
    expect(await codeOf(() => recallJson(barrier, "token:2", sealed, schema))).toBe("VAULT_STORE_DAMAGED");
    const damaged = Buffer.from(sealed);
    damaged[40] = damaged[40] === 65 ? 66 : 65;
    expect(await codeOf(() => recallJson(barrier, "token:1", damaged, schema))).toBe("VAULT_KEY_WRONG");
  });

  it("forgets what a key opened that is not in use any more", async () => {
    const ring = { keys: [first] };
    const barrier = createBarrier(ring, clock);
    const sealed = sealJson(barrier, "token:1", value);
    recallJson(barrier, "token:1", sealed, schema);
    ring.keys = [second];
    expect(await codeOf(() => recallJson(barrier, "token:1", sealed, schema))).toBe("VAULT_KEY_WRONG");
    ring.keys = [second, first];
    expect(recallJson(barrier, "token:1", sealed, schema)).toEqual(value);
  });

  it("keeps a bounded number of rows", () => {
    const barrier = barrierOf(first);
    const sealed = sealJson(barrier, "token:0", value);
    const read = recallJson(barrier, "token:0", sealed, schema);
    for (let i = 1; i <= 4096; i++) barrier.memory.put(`token:${i}`, sealed, schema, value);
    expect(recallJson(barrier, "token:0", sealed, schema)).not.toBe(read);
  });
});
