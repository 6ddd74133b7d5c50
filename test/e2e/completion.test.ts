/** Completion in the shells themselves: what `sidekey completion` prints is read by one, a line is typed, TAB is pressed. */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { cleanEnvironment } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const all = process.env["SIDEKEY_TEST_ALL"] === "1";
const has = (program: string): boolean => spawnSync(program, ["--version"]).status === 0;
const noPython = !all && !has("python3");
const noZsh = !all && (noPython || !has("zsh"));
const noFish = !all && !has("fish");

let work: Workspace;
beforeAll(async () => {
  work = createWorkspace();
  work.write("another-file.yaml", "version: 1\n");
  mkdirSync(work.at("another-directory"));
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout, stderr } = await work.sidekey(["completion", shell]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    work.write(`completion.${shell}`, stdout);
  }
});
afterAll(() => work.remove());

/** What is typed before TAB, and what stands there after it: the same in every shell. */
const LINES: readonly (readonly [typed: string, completed: string])[] = [
  ["sidekey secr", "secret"],
  ["sidekey secret hist", "secret history"],
  ["sidekey audit v", "audit verify"],
  ["sidekey completion f", "completion fish"],
  ["sidekey check --js", "check --json"],
  ["sidekey start --log-level d", "start --log-level debug"],
  ["sidekey start -c another-file.yaml --log-level w", "start -c another-file.yaml --log-level warn"],
  ["sidekey token issue --scope secrets:use:a/b --reads p", "token issue --scope secrets:use:a/b --reads placeholder"],
  ["sidekey check -c another-f", "check -c another-file.yaml"],
  ["sidekey ca export another-d", "ca export another-directory/"],
  ["sidekey run -c another-file.yaml -- mkfif", "run -c another-file.yaml -- mkfifo"],
  ["sidekey run mkfif", "run mkfifo"],
  ["sidekey nothing-of-that-name x", "nothing-of-that-name x"],
];

/** Types every line into one shell on a terminal, with TAB and Enter, where `sidekey` prints its arguments. */
const complete = (shell: readonly string[], setUp: string, script: string): void => {
  // Cut in two, so that the echo of what is typed is not taken for the answer.
  const steps = [
    ["", `${setUp}\r`],
    ["", `sidekey () { echo "G""OT:$*:"; }\r`],
    ["", `. ${script}\r`],
    ["", `echo "REA""DY"\r`],
    ["READY", ""],
    ...LINES.flatMap(([typed, completed]) => [
      ["", `${typed}\t\r`],
      [`GOT:${completed.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")} ?:`, ""],
    ]),
  ];
  const terminal = join(import.meta.dirname, "../support/terminal.py");
  const { status, stderr } = spawnSync("python3", [terminal, JSON.stringify(steps), ...shell], {
    cwd: work.path,
    env: cleanEnvironment({ TERM: "xterm", HOME: work.path }),
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
};

describe("completion", () => {
  it.skipIf(noPython)(`works in bash${noPython ? " (skipped: no python3 here)" : ""}`, () => {
    complete(["bash", "--norc", "--noprofile", "-i"], "bind 'set bell-style none'", "./completion.bash");
  });

  it.skipIf(noZsh)(`works in zsh${noZsh ? " (skipped: no zsh here)" : ""}`, () => {
    complete(
      ["zsh", "-f", "-i"],
      "setopt no_beep no_auto_remove_slash; autoload -Uz compinit; compinit -D -u",
      "./completion.zsh",
    );
  });

  it.skipIf(noFish)(`works in fish${noFish ? " (skipped: no fish here)" : ""}`, () => {
    const offered = (typed: string): readonly string[] => {
      const script = `source completion.fish; complete -C ${JSON.stringify(typed)}`;
      const { status, stdout, stderr } = spawnSync("fish", ["--no-config", "-c", script], {
        cwd: work.path,
        env: cleanEnvironment({ HOME: work.path }),
        encoding: "utf8",
      });
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      return stdout
        .split("\n")
        .map((line) => line.split("\t")[0] ?? "")
        .filter((word) => word !== "");
    };
    for (const [typed, completed] of LINES) {
      const words = typed.includes("nothing-of") ? [] : [completed.split(" ").at(-1)];
      expect(offered(typed), typed).toEqual(words);
    }
    expect(offered("sidekey token ")).toEqual(["inspect", "issue", "list", "revoke"]);
  });

  it.each(["bash", "zsh", "fish"])("of %s knows every command, and none that is not there", async (shell) => {
    const { stdout } = await work.sidekey(["completion", shell]);
    for (const { name } of COMMANDS) {
      const [group = "", leaf] = name.split(" ");
      expect(stdout).toMatch(new RegExp(`\\b${group}\\b`));
      if (leaf !== undefined) expect(stdout).toMatch(new RegExp(`\\b${leaf}\\b`));
    }
  });

  it("says which shells there are, and what was meant", async () => {
    const { code, stdout, stderr } = await work.sidekey(["completion", "tcsh"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("Allowed choices are bash, zsh, fish.");
    expect(await work.sidekey(["completion"])).toMatchObject({ code: 2, stdout: "" });
  });
});
