/** `sidekey run` under a shell on a terminal: program and sidecar stop and go on as one job. */
import { spawn } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cleanEnvironment, finished, MAIN } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const TERMINAL = new URL("../support/terminal.py", import.meta.url).pathname;

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
  work.write("sidekey.yaml", "version: 1\n");
});
afterEach(() => work.remove());

/** Waits for a pattern on the terminal, then types keys: one step after the other. */
const type = (steps: readonly (readonly [shown: string, keys: string])[]) => {
  const env = { ...cleanEnvironment(), TERM: "dumb" };
  return finished(spawn("python3", [TERMINAL, JSON.stringify(steps)], { cwd: work.path, env }));
};

/** A typed line; what the shell echoes of it matches none of the patterns below, which begin with a line feed. */
const run = (program: string, rest = ""): string => `'${process.execPath}' '${MAIN}' run -- ${program}${rest}\n`;
const PROMPT = "bash-[\\d.]+[#$] $";
const STOPPED = `Stopped[\\s\\S]*${PROMPT}`;
const CONTROL_C = "\x03";
const CONTROL_Z = "\x1a";

describe("on a terminal", () => {
  it("Ctrl-Z stops program and sidecar, and fg continues both", async () => {
    const asks = `sh -c 'echo up; while read line; do curl -s -o /dev/null -w "%{http_code}\\n" http://nowhere.test/; done'`;
    const states = 'job=$(jobs -p); echo states $(ps -o stat= --pid "$job" --ppid "$job") end\n';
    const result = await type([
      [PROMPT, run(asks)],
      ["\nup", "\n"],
      ["\n403", CONTROL_Z],
      [STOPPED, states],
      [`\nstates T\\S* T\\S* end[\\s\\S]*${PROMPT}`, "fg\n"],
      ["curl", "\n"],
      ["\n403", CONTROL_C],
      [PROMPT, "echo code $?\n"],
      ["\ncode 130", ""],
    ]);
    expect(result).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it("a program in the background that wants to read stops, and fg continues it", async () => {
    const result = await type([
      [PROMPT, "set -b\n"],
      [PROMPT, run("sh -c 'read line; echo got $line'", " &")],
      ["Stopped", "fg\n"],
      ["run --", "hello\n"],
      [`\ngot hello[\\s\\S]*${PROMPT}`, "echo code $?\n"],
      ["\ncode 0", ""],
    ]);
    expect(result).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it("the person is told at the end that calls did not get through", async () => {
    const call = "curl -s -o /dev/null http://nowhere.test/";
    const result = await type([
      [PROMPT, run(`sh -c '${call}; ${call}; true'`)],
      [`\nsidekey: not all calls got through: POLICY_NO_ROUTE, 2 times\\.[\\s\\S]*${PROMPT}`, "echo code $?\n"],
      ["\ncode 0", ""],
    ]);
    expect(result).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it("Ctrl-C is the program's to answer", async () => {
    const result = await type([
      [PROMPT, run(`sh -c 'trap "echo caught; exit 9" INT; echo up; while :; do sleep 0.05; done'`)],
      ["\nup", CONTROL_C],
      [`\n\\S*caught[\\s\\S]*${PROMPT}`, "echo code $?\n"],
      ["\ncode 9", ""],
    ]);
    expect(result).toEqual({ code: 0, stdout: "", stderr: "" });
  });
});
