import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { parseStat, stoppedByTerminal } from "../../../../src/cli/run/job.ts";

describe("parseStat", () => {
  it("reads the state and the terminal's foreground group, whatever the program is called", () => {
    expect(parseStat("71 (sh) T 70 70 60 34816 70 0")).toEqual({ state: "T", foreground: 70 });
    expect(parseStat("71 (a) R (b) T 70 70 60 34816 -1 0")).toEqual({ state: "T", foreground: -1 });
  });

  it.each(["", "71 (sh", "71 (sh) T"])("knows nothing of %j", (text) => {
    expect(parseStat(text)).toBeUndefined();
  });
});

describe("stoppedByTerminal", () => {
  it("is false for a program that is gone", async () => {
    const child = spawn("true");
    await once(child, "exit");
    expect(stoppedByTerminal(child.pid ?? 0)).toBe(false);
  });

  it("is false for one that was stopped without a terminal", async () => {
    const child = spawn("cat", { detached: true, stdio: ["pipe", "ignore", "ignore"] });
    await once(child, "spawn");
    child.kill("SIGSTOP");
    expect(stoppedByTerminal(child.pid ?? 0)).toBe(false);
    child.kill("SIGKILL");
    await once(child, "exit");
  });
});
