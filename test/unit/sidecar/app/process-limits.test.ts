import { describe, expect, it } from "vitest";
import { connectionsThatFit, parseLimits, readProcessLimits } from "../../../../src/sidecar/app/process-limits.ts";

const TEXT = `Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max core file size        0                    unlimited            bytes
Max open files            256                  1048576              files
`;

describe("the process's limits", () => {
  it("are read from the soft column", () => {
    expect(parseLimits(TEXT)).toEqual({ openFiles: 256, coreBytes: 0 });
    expect(parseLimits(TEXT.replace("256 ", "unlimited "))).toMatchObject({ openFiles: Number.POSITIVE_INFINITY });
    expect(parseLimits("")).toEqual({ openFiles: undefined, coreBytes: undefined });
  });

  it.runIf(process.platform === "linux")("are there on this machine", () => {
    expect(readProcessLimits().openFiles).toBeGreaterThan(0);
  });

  it.each([
    [1024, 256, 83],
    [1024, 1_048_576, 1024],
    [1024, 64, 1],
    [1024, Number.POSITIVE_INFINITY, 1024],
    [1024, undefined, 1024],
  ])("let %i connections with %s open files be %i", (wanted, openFiles, fit) => {
    expect(connectionsThatFit(wanted, { openFiles, coreBytes: 0 })).toBe(fit);
  });
});
