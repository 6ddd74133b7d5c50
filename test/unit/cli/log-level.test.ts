import { describe, expect, it } from "vitest";
import type { Options } from "../../../src/cli/command.ts";
import { logLevel } from "../../../src/cli/log-level.ts";

const given = (level?: string): Options => ({ text: () => level, list: () => [], flag: () => false });

describe("logLevel", () => {
  it("is the option, else the variable, else the file", () => {
    const environment = { SIDEKEY_LOG_LEVEL: "warn" };
    expect(logLevel({ options: given("error"), environment }, "info")).toBe("error");
    expect(logLevel({ options: given(), environment }, "info")).toBe("warn");
    expect(logLevel({ options: given(), environment: {} }, "info")).toBe("info");
    expect(logLevel({ options: given(), environment: { SIDEKEY_LOG_LEVEL: "" } }, "info")).toBe("info");
  });

  it("refuses a variable that is no level", () => {
    const environment = { SIDEKEY_LOG_LEVEL: "loud" };
    expect(() => logLevel({ options: given(), environment }, "info")).toThrow("none of error, warn, info, debug");
  });
});
