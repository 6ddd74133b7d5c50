import { describe, expect, it } from "vitest";
import { sourceKinds } from "../../../../../src/sidecar/secrets/kinds/index.ts";
import { failureOf } from "../../../vault/support.ts";
import { CONTEXT, depsIn, refTo } from "./support.ts";

const [, , env] = sourceKinds;

describe("source env", () => {
  it("has no fields but its kind", () => {
    expect(env.fields.parse({ kind: "env" })).toEqual({ kind: "env" });
    for (const value of [{}, { kind: "file" }, { kind: "env", prefix: "X" }]) {
      expect(env.fields.safeParse(value).success).toBe(false);
    }
  });

  it("reads only what it was given, not this process's variables or an object's own names", async () => {
    const source = await env.create({ kind: "env" }, depsIn("/", { environment: { KEY: "value" } }));
    expect((await source.fetch(refTo("KEY"), CONTEXT)).value.lend(String)).toBe("value");
    for (const name of ["PATH", "key", "hasOwnProperty"]) {
      const error = await failureOf(() => source.fetch(refTo(name), CONTEXT));
      expect(error.code).toBe("SOURCE_SECRET_MISSING");
      expect(error.hint).toContain("variable");
    }
  });
});
