/** What a process that holds secrets leaves open, prints or leaves behind (guarantees.md F1 to F3, R25). */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
  work.write("sidekey.yaml", 'version: 1\nlisten: { proxy: "127.0.0.1:0" }\n');
});
afterEach(() => work.remove());

describe("LOG_TOKENS and LOG_STREAM, with which the YAML library prints what it reads", () => {
  const environment = { LOG_TOKENS: "1", LOG_STREAM: "1" };

  it("print nothing", async () => {
    const file = work.at("sidekey.yaml");
    expect(await work.sidekey(["check"], { environment })).toEqual({ code: 0, stdout: `${file}: fine\n`, stderr: "" });
  });

  it("are still the caller's for the program of a run", async () => {
    const script = 'echo "$LOG_TOKENS $LOG_STREAM"';
    const { stdout } = await work.sidekey(["run", "--", "sh", "-c", script], { environment });
    expect(stdout).toBe("1 1\n");
  });
});
