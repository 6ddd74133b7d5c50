import { describe, expect, it } from "vitest";
import { z } from "zod";
import { diagnose } from "../../../src/config/diagnose.ts";
import { formatPath } from "../../../src/config/problem.ts";

const CANARY = "canary-6f1d";

const schema = z.strictObject({
  version: z.literal(1),
  level: z.enum(["debug", "info"]).default("info"),
  count: z.int().min(1).max(9).optional(),
  flag: z.boolean().optional(),
  list: z.array(z.string()).min(1).optional(),
  named: z
    .record(z.string().regex(/^[a-z]+$/, "must be lower case"), z.strictObject({ colour: z.string().optional() }))
    .optional(),
  either: z.union([z.string(), z.strictObject({ inner: z.union([z.string(), z.array(z.string())]) })]).optional(),
  kinds: z
    .discriminatedUnion("kind", [
      z.strictObject({ kind: z.literal("one"), first: z.string() }),
      z.strictObject({ kind: z.literal("two"), second: z.string().max(3) }),
    ])
    .optional(),
  custom: z
    .string()
    .refine((text) => text === "ok", { error: "must be ok", params: { hint: "Write ok." } })
    .optional(),
});

const explain = (value: unknown, later: Parameters<typeof diagnose>[1]["later"] = () => undefined): string[] => {
  const parsed = schema.safeParse(value);
  if (parsed.success) return [];
  return diagnose(parsed.error.issues, { schema, value, later }).map(
    ({ path, message, hint }) => `${formatPath(path)} ${message}${hint === undefined ? "" : ` | ${hint}`}`,
  );
};

describe("diagnose", () => {
  it.each<[unknown, string[]]>([
    [{ version: 1 }, []],
    [{}, ["version is missing | It must be 1."]],
    [{ version: 2 }, ["version must be 1"]],
    [null, [" the file is empty"]],
    [[], [" must be a map, and is a list"]],
    [{ version: 1, levle: 1 }, ["levle is not a known key | Did you mean 'level'?"]],
    [{ version: 1, level: "inof" }, ["level must be one of: debug, info | Did you mean 'info'?"]],
    [{ version: 1, level: CANARY }, ["level must be one of: debug, info"]],
    [{ version: 1, count: "5" }, ["count must be a number, and is text"]],
    [{ version: 1, count: 1.5 }, ["count must be a whole number, and is a number"]],
    [{ version: 1, count: 0 }, ["count must be at least 1"]],
    [{ version: 1, count: 10 }, ["count must be at most 9"]],
    [{ version: 1, flag: "true" }, ["flag must be true or false, and is text"]],
    [{ version: 1, flag: null }, ["flag is empty; it must be true or false | Give it a value, or remove the key."]],
    [{ version: 1, list: [] }, ["list must hold at least 1 entry"]],
    [{ version: 1, list: [1] }, ["list[0] must be text, and is a number | Put it in quotes to make it text."]],
    [{ version: 1, named: { A: {} } }, ["named.A must be lower case"]],
    [{ version: 1, named: { a: { color: CANARY } } }, ["named.a.color is not a known key | Did you mean 'colour'?"]],
    [{ version: 1, named: { a: { zzz: CANARY } } }, ["named.a.zzz is not a known key | Known here: colour."]],
    [{ version: 1, either: 5 }, ["either must be text or a map, and is a number | Put it in quotes to make it text."]],
    [
      { version: 1, either: { inner: 5 } },
      ["either.inner must be text or a list, and is a number | Put it in quotes to make it text."],
    ],
    [{ version: 1, either: { inner: "x", iner: 1 } }, ["either.iner is not a known key | Did you mean 'inner'?"]],
    [{ version: 1, kinds: { kind: "tow" } }, ["kinds.kind must be one of: one, two | Did you mean 'two'?"]],
    [{ version: 1, kinds: {} }, ["kinds.kind is missing | It must be one of: one, two."]],
    [
      { version: 1, kinds: { kind: "two", secnd: "x" } },
      ["kinds.second is missing | It must be text.", "kinds.secnd is not a known key | Did you mean 'second'?"],
    ],
    [{ version: 1, kinds: { kind: "two", second: CANARY } }, ["kinds.second must have at most 3 characters"]],
    [{ version: 1, custom: CANARY }, ["custom must be ok | Write ok."]],
  ])("explains %j", (value, expected) => {
    expect(explain(value)).toEqual(expected);
  });

  it("tells everything in one go, and never a value", () => {
    const value = {
      version: CANARY,
      level: CANARY,
      count: CANARY,
      list: CANARY,
      either: { inner: { a: CANARY } },
      custom: CANARY,
    };
    const findings = explain(value);
    expect(findings).toHaveLength(6);
    expect(findings.join("\n")).not.toContain(CANARY);
  });

  it("asks first whether a key or kind belongs to a later version", () => {
    const later = (path: readonly (string | number)[]) => (path[0] === "soon" ? { path, message: "later" } : undefined);
    expect(explain({ version: 1, soon: 1, sooner: 1 }, later)).toEqual([
      "soon later",
      expect.stringContaining("sooner is not a known key"),
    ]);
  });
});
