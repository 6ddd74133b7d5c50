import { describe, expect, test } from "vitest";
import {
  createRedaction,
  createRedactionCache,
  type Redaction,
  type RedactionCache,
  searchedNow,
} from "../../../../src/sidecar/scrub/redaction.ts";
import { scrubValue } from "../../../../src/sidecar/scrub/scrubber.ts";

describe("a redaction", () => {
  test("covers every value given, the derived ones too", () => {
    const blob = Buffer.from("user:first-secret").toString("base64");
    const redaction = createRedaction([Buffer.from("first-secret"), Buffer.from("second-secret"), Buffer.from(blob)]);
    const scrubbed = scrubValue(redaction, Buffer.from(`first-secret second-secret ${blob}`))?.toString();
    expect(scrubbed).toBe("[redacted]** [redacted]*** [redacted]**************");
  });

  test("of nothing, or of values too short to look for, finds nothing", () => {
    expect(createRedaction([]).longest).toBe(0);
    expect(scrubValue(createRedaction([Buffer.from("ab")]), Buffer.from("ab ab"))).toBeUndefined();
  });

  test("is compiled once for the same material", () => {
    const cache = createRedactionCache();
    const material = {};
    let made = 0;
    const values = () => {
      made++;
      return [Buffer.from("first-secret")];
    };
    expect(cache.get(material, values)).toBe(cache.get(material, values));
    expect(made).toBe(1);
    cache.get({}, values);
    expect(made).toBe(2);
  });

  const finds = (redaction: Redaction, text: string): boolean =>
    scrubValue(searchedNow(redaction), Buffer.from(text)) !== undefined;
  const make = (cache: RedactionCache, secret: string) => cache.get({}, () => [Buffer.from(secret)]);

  test("of a route that takes another's place covers what that one covered, for its time and no longer", () => {
    const time = { now: 0 };
    const first = createRedactionCache({ now: () => time.now, keepMs: 100 });
    make(first, "secret-of-the-first");
    time.now = 50;
    const second = first.successor();
    expect(finds(make(second, "secret-of-the-second"), "secret-of-the-first")).toBe(true);
    time.now = 100;
    const third = second.successor();
    const both = make(third, "secret-of-the-third");
    expect(finds(both, "secret-of-the-first")).toBe(true);
    expect(finds(both, "secret-of-the-second")).toBe(true);
    time.now = 150;
    const later = make(third, "secret-of-the-third");
    expect(finds(later, "secret-of-the-first")).toBe(false);
    expect(finds(later, "secret-of-the-second")).toBe(true);
    time.now = 200;
    expect(finds(make(third.successor(), "x-secret-x"), "secret-of-the-second")).toBe(false);
  });

  test("of a route that takes the place of one with many secrets covers each of them", () => {
    const values = Array.from({ length: 100 }, (_, i) => Buffer.from(`secret-number-${i}-of-many`));
    const cache = createRedactionCache({ now: () => 0, keepMs: 100 });
    cache.get({}, () => values);
    const later = make(cache.successor(), "the-one-secret-now");
    expect(values.filter((value) => !finds(later, value.toString()))).toEqual([]);
  });

  test("of many reloads covers the newest values, each once", () => {
    let cache = createRedactionCache({ now: () => 0, keepMs: 100 });
    for (let i = 0; i < 100; i++) {
      make(cache, `secret-number-${i % 50}-`);
      cache = cache.successor();
    }
    const last = make(cache, "another-secret");
    expect([17, 18, 49].map((i) => finds(last, `secret-number-${i}-`))).toEqual([false, true, true]);
  });

  test("of a response that is under way finds what its route sends after it, and its own still", () => {
    const cache = createRedactionCache({ now: () => 0, keepMs: 100 });
    const first = make(cache, "secret-of-the-first");
    expect(finds(first, "secret-of-the-second")).toBe(false);
    make(cache, "secret-of-the-second");
    const third = make(cache.successor(), "secret-of-the-third");
    for (const number of ["first", "second", "third"]) {
      expect([number, finds(first, `secret-of-the-${number}`)]).toEqual([number, true]);
      expect([number, finds(third, `secret-of-the-${number}`)]).toEqual([number, true]);
    }
  });

  test("finds its own secret in a response that outlasts all that was sent since", () => {
    const time = { now: 0 };
    const cache = createRedactionCache({ now: () => time.now, keepMs: 100 });
    const first = make(cache, "secret-of-the-first");
    for (let i = 0; i < 40; i++) make(cache, `secret-number-${i}-`);
    time.now = 200;
    make(cache, "secret-of-the-last");
    expect(
      ["secret-of-the-first", "secret-of-the-last", "secret-number-39-"].map((text) => finds(first, text)),
    ).toEqual([true, true, false]);
  });

  test("of one set of secrets finds what a sibling sent, before and after it, as long as that is recent", () => {
    const time = { now: 0 };
    const one = createRedactionCache({ now: () => time.now, keepMs: 100 });
    const other = one.sibling();
    const secrets = {};
    const get = (): Redaction => one.get(secrets, () => [Buffer.from("secret-of-the-one")]);
    const before = get();
    time.now = 90;
    get();
    time.now = 150;
    const others = make(other, "secret-of-the-other");
    expect(finds(others, "secret-of-the-one")).toBe(true);
    for (const redaction of [before, get()]) {
      expect(finds(redaction, "secret-of-the-other")).toBe(true);
      expect(redaction.matcher).toBe(redaction.line.latest);
    }
    time.now = 300;
    expect(finds(make(other, "another-of-the-other"), "secret-of-the-one")).toBe(false);
    // Out of use for longer than it is kept; in use again it counts like any.
    get();
    expect(finds(others, "secret-of-the-one")).toBe(true);
    expect(finds(make(other, "third-of-the-other"), "secret-of-the-one")).toBe(true);
  });

  test("is compiled anew for no secret that its line looks for already, however many hold it", () => {
    const time = { now: 0 };
    const cache = createRedactionCache({ now: () => time.now, keepMs: 100 });
    const of = (where: RedactionCache, secrets: object, text: string) => where.get(secrets, () => [Buffer.from(text)]);
    const all = Array.from({ length: 50 }, () => ({ secrets: {}, where: cache.sibling() }));
    for (const { secrets, where } of all) of(where, secrets, "the-one-secret");
    const latest = of(cache, {}, "another-secret");
    time.now = 90;
    for (const { secrets, where } of all) expect(of(where, secrets, "the-one-secret").matcher).toBe(latest.matcher);
    // One of them is in use, so all that hold it find it.
    time.now = 150;
    const later = of(cache, {}, "a-third-secret");
    expect(["the-one-secret", "another-secret"].map((text) => finds(later, text))).toEqual([true, false]);
  });

  test("of more secrets in turn than are kept finds its own and the newest, without compiling each time", () => {
    const cache = createRedactionCache({ now: () => 0, keepMs: 100 });
    const all = Array.from({ length: 60 }, (_, i) => ({ secrets: {}, text: `secret-number-${i}-` }));
    const get = ({ secrets, text }: { secrets: object; text: string }) => cache.get(secrets, () => [Buffer.from(text)]);
    all.map(get);
    const { latest } = get({ secrets: {}, text: "the-latest-secret" }).line;
    for (const one of all) {
      const redaction = get(one);
      expect(redaction.line.latest).toBe(latest);
      expect([one.text, finds(redaction, one.text), finds(redaction, "the-latest-secret")]).toEqual([
        one.text,
        true,
        true,
      ]);
    }
  });
});
