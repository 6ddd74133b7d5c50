import { describe, expect, test } from "vitest";
import { createRedaction, createRedactionCache } from "../../../../src/sidecar/scrub/redaction.ts";
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
});
