import { describe, expect, test } from "vitest";
import { createRedaction, createRedactionCache, type RedactionCache } from "../../../../src/sidecar/scrub/redaction.ts";
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

  const finds = (redaction: ReturnType<typeof createRedaction>, text: string): boolean =>
    scrubValue(redaction, Buffer.from(text)) !== undefined;
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
});
