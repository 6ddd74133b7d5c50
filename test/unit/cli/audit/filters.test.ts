import { describe, expect, it } from "vitest";
import { readFilter } from "../../../../src/cli/audit/filters.ts";
import type { Options } from "../../../../src/cli/command.ts";

const NOW = Date.parse("2026-11-25T12:00:00.000Z");

const options = (values: Readonly<Record<string, string>>): Options => ({
  text: (name) => values[name],
  list: () => [],
  flag: () => false,
});

const filter = (values: Readonly<Record<string, string>>) => readFilter(options(values), NOW).filter;

describe("the filter of audit search", () => {
  it("takes times as durations that lie back, as instants with any offset, and as days", () => {
    expect(filter({ since: "15m", until: "0s" })).toMatchObject({
      since: "2026-11-25T11:45:00.000Z",
      until: "2026-11-25T12:00:00.000Z",
    });
    expect(filter({ since: "2026-11-25T09:00:00.5+02:00" }).since).toBe("2026-11-25T07:00:00.500Z");
    expect(filter({ since: "2026-11-25t09:00:00z" }).since).toBe("2026-11-25T09:00:00.000Z");
    expect(filter({ until: "2026-11-25" }).until).toBe("2026-11-25T00:00:00.000Z");
  });

  it.each(["yesterday", "15", "2026-13-01", "2026-11-25T09:00:00", "2026-11-25T25:00:00Z", "99999999d", "-5m", ""])(
    "refuses %j as a time",
    (since) => {
      expect(() => filter({ since })).toThrow(/CONFIG_USAGE.*--since/);
    },
  );

  it("refuses what could never match: an empty span, a code that there is not, no status, no number", () => {
    expect(() => filter({ since: "1m", until: "5m" })).toThrow(/not before --until/);
    expect(() => filter({ code: "UPSTREAM_TIMEOUTS" })).toThrow(/no code/);
    expect(() => filter({ code: "FOO_*" })).toThrow(/no code/);
    for (const status of ["600", "5x", "abc", "050"]) expect(() => filter({ status })).toThrow(/--status/);
    for (const limit of ["0", "-1", "x", "1e3"]) expect(() => readFilter(options({ limit }), NOW)).toThrow(/--limit/);
    expect(readFilter(options({ limit: "20" }), NOW).limit).toBe(20);
  });

  it("compares whole words, or beginnings where a * ends them, and secrets with or without their source", () => {
    const { fields = {} } = filter({ agent: "bot*", route: "openai", secret: "production/x/*", status: "5xx" });
    expect(["bot", "bot-1", "robot", ""].map((text) => fields.agent?.(text))).toEqual([true, true, false, false]);
    expect(["openai", "openai-2", ""].map((text) => fields.route?.(text))).toEqual([true, false, false]);
    expect(["local:production/x/key", "production/x/y", "local:production/z"].map((s) => fields.secret?.(s))).toEqual([
      true,
      true,
      false,
    ]);
    const several = "local:production/z,other:production/x/key";
    for (const secret of ["production/x/*", "other:production/x/key", "production/z", several]) {
      expect(filter({ secret }).fields?.secret?.(several), secret).toBe(true);
    }
    for (const secret of ["production/y", "production", "key"]) {
      expect(filter({ secret }).fields?.secret?.(several), secret).toBe(false);
    }
    expect(filter({ secret: "local:production/x/key" }).fields?.secret?.("local:production/x/key")).toBe(true);
    expect(filter({ secret: "other:production/x/key" }).fields?.secret?.("local:production/x/key")).toBe(false);
    expect(["500", "599", "404", ""].map((text) => fields.status?.(text))).toEqual([true, true, false, false]);
    const events = filter({ event: "secret.*", actor: "t1" }).fields;
    expect(["secret.read", "token.used", ""].map((text) => events?.event?.(text))).toEqual([true, false, false]);
    expect(["t1", "t12", ""].map((text) => events?.actor?.(text))).toEqual([true, false, false]);
    expect(filter({ code: "policy_*" }).fields?.code?.("POLICY_DENIED")).toBe(true);
    expect(filter({ agent: "*" }).fields?.agent?.("")).toBe(false);
  });
});
