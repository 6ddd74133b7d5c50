/** The source `exec` by the built program: what `check` and `start` say, and what `run` keeps from the agent. */
import { chmodSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startSidekey } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

let at: Workspace;
beforeEach(() => {
  at = createWorkspace();
});
afterEach(() => at.remove());

const file = (program: string): string => `version: 1
listen: { proxy: "127.0.0.1:0" }
sources:
  pass:
    kind: exec
    command: [${program}, "{path}"]
    env: [PATH, PASS_TOKEN]
routes: { api.example.test: "pass:work/key" }
`;

describe("a program that is not there", () => {
  it("is found by check, at its place", async () => {
    at.write("sidekey.yaml", file("./get-secret"));
    const { code, stdout } = await at.sidekey(["check", "--json"]);
    expect(code).toBe(2);
    expect(JSON.parse(stdout).problems).toMatchObject([
      { line: 6, path: "sources.pass.command[0]", message: "there is no such program" },
    ]);
  });

  it("ends start before a port is open", async () => {
    at.write("sidekey.yaml", file("no-such-program-anywhere"));
    const { code, stderr, stdout } = await at.sidekey(["start"]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toContain('sources.pass.command: there is no program "no-such-program-anywhere"');
  });
});

describe("a program that is there", () => {
  const program = (): void => {
    chmodSync(at.write("get-secret", '#!/bin/sh\nprintf "canary-%s-%s" "$1" "$PASS_TOKEN"\n'), 0o755);
    at.write("sidekey.yaml", file("./get-secret"));
  };

  it("passes check and serves", async () => {
    program();
    expect((await at.sidekey(["check"])).code).toBe(0);
    const running = await startSidekey([], { cwd: at.path });
    expect((await running.stop()).code).toBe(0);
  });

  it("is refused by start when others could change it", async () => {
    program();
    chmodSync(at.at("get-secret"), 0o777);
    const { code, stderr } = await at.sidekey(["start"]);
    expect(code).toBe(2);
    expect(stderr).toContain("get-secret can be written by others");
  });

  it("keeps what it is given, and what it says, from run's child", async () => {
    program();
    const environment = { PASS_TOKEN: "t-123456789", LEFT_OVER: "canary-work/key-t-123456789", FINE: "fine" };
    const { code, stdout } = await at.sidekey(["run", "--", "env"], { environment });
    expect(code).toBe(0);
    expect(stdout).toContain("FINE=fine");
    expect(stdout).not.toContain("t-123456789");
  });
});
