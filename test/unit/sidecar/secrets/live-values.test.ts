/** The last look at a log line: values that are in memory do not get past it, whatever they are made of. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { LogLevel } from "../../../../src/core/log.ts";
import { createLog } from "../../../../src/core/process-log.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { createLiveValues } from "../../../../src/sidecar/secrets/live-values.ts";
import { SHAPES } from "../../../support/canaries.ts";
import { leaksOf } from "../../../support/leaks.ts";

const LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug"];

/** Secrets that a line's own syntax could hide or break. */
const HOSTILE: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.entries(SHAPES).map(([name, bytes]) => [name, bytes.toString("utf8")])),
  "quotes and backslashes": '"\\"\\\\":"},{"',
  "a member of the line": '"level":30',
  "beyond the BMP": "clé-🔑-密钥-0001",
  "what a pattern would read": "^$.*+?()[]{}|\\d",
  "what replace would read": "$&$`$'$1-secret",
};

const logged = (write: (log: ReturnType<typeof createLog>) => void, ...secrets: string[]): string => {
  const file = join(mkdtempSync(join(tmpdir(), "sidekey-log-")), "log");
  const live = createLiveValues();
  const kept = secrets.map((secret) => SecretValue.fromText(secret));
  for (const value of kept) live.add(value);
  const log = createLog({ level: "debug", to: file });
  log.filterLines(live.redact);
  write(log);
  expect(kept.length).toBe(secrets.length);
  const text = readFileSync(file, "utf8");
  rmSync(join(file, ".."), { recursive: true });
  return text;
};

describe("a log line with a live value", () => {
  it.each(Object.entries(HOSTILE))("loses it at every level, in message and fields: %s", (_name, secret) => {
    const text = logged((log) => {
      for (const level of LEVELS) {
        log[level](`it was ${secret} that`, { detail: `<${secret}>`, alone: secret });
        log[level](secret);
      }
    }, secret);
    const lines = text.trimEnd().split("\n");
    expect(lines).toHaveLength(2 * LEVELS.length);
    for (const line of lines) {
      const parsed = JSON.parse(line) as Record<string, unknown>;
      expect(Object.values(parsed).some((member) => String(member).includes(secret))).toBe(false);
      expect(parsed["msg"]).toContain("[red");
      expect(parsed["level"]).toBeTypeOf("number");
    }
    expect(leaksOf(Buffer.from(text.replaceAll('"level":30', "")), Buffer.from(secret))).toEqual([]);
  });

  it("loses what is encoded, too", () => {
    const secret = "sk-canary-52d1e0a97c";
    const text = logged((log) => {
      log.info("sent", {
        header: Buffer.from(`user:${secret}`).toString("base64"),
        query: `?k=${encodeURIComponent(secret)}`,
      });
    }, secret);
    expect(leaksOf(Buffer.from(text), Buffer.from(secret), { fragment: 12 })).toEqual([]);
  });

  it("loses each of many", () => {
    const secrets = Array.from({ length: 20 }, (_, i) => `canary-${i}-${"x".repeat(i)}-9c1f`);
    const text = logged((log) => log.warn(secrets.join(" and ")), ...secrets);
    for (const secret of secrets) expect(text).not.toContain(secret);
    expect(text.match(/\[redacted\]/g)?.length).toBe(20);
  });

  it("loses a number that is one", () => {
    expect(logged((log) => log.info("seen", { count: 48151623 }), "48151623")).not.toContain("48151623");
  });
});

describe("other lines", () => {
  it("are written byte for byte, and so are those that share nothing but syntax with a value", () => {
    const write = (log: ReturnType<typeof createLog>): void => log.info("plain", { detail: 'a "b" \\ c', n: 1 });
    const times = /"time":"[^"]+"/;
    const without = logged(write).replace(times, "");
    expect(logged(write, "canary-0123456789").replace(times, "")).toBe(without);
    expect(logged(write, '"level":30').replace(times, "")).toBe(without);
  });

  it("are looked at for no value that was never added, and for none under four bytes", () => {
    expect(logged((log) => log.info("a PIN of 123"), "123")).toContain("123");
  });
});

describe("a value", () => {
  it("is not kept alive by being looked for", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const live = createLiveValues();
    const use = (): WeakRef<SecretValue> => {
      const value = SecretValue.fromText("canary-kept-3f7b");
      live.add(value);
      live.add(value);
      expect(live.redact('{"msg":"canary-kept-3f7b"}\n')).toBe('{"msg":"[redacted]******"}\n');
      return new WeakRef(value);
    };
    const reference = use();
    const isGone = async (): Promise<boolean> => {
      await setImmediate();
      collect();
      return reference.deref() === undefined;
    };
    await expect.poll(isGone).toBe(true);
    expect(live.redact('{"msg":"canary-kept-3f7b"}\n')).toContain("canary");
  });
});
