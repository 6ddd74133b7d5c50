import { describe, expect, it } from "vitest";
import { refuseInsideRun } from "../../../src/cli/inside-run.ts";

describe("refuseInsideRun", () => {
  it("refuses where SIDEKEY_RUN is set, and names the command", () => {
    expect(() => refuseInsideRun("secret get", { environment: { SIDEKEY_RUN: "abc" } })).toThrow(
      "'sidekey secret get' does not work inside 'sidekey run'",
    );
  });

  it.each([{}, { SIDEKEY_RUN: "" }])("lets everyone else pass: %j", (environment) => {
    expect(() => refuseInsideRun("secret get", { environment })).not.toThrow();
  });
});
