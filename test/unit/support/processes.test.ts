import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { endProcessesIn, processesIn } from "../../support/processes.ts";
import { createWorkspace, type Workspace } from "../../support/workspace.ts";

const isLinux = process.platform === "linux";
const note = isLinux ? "" : " (skipped: no /proc here)";
const workspaces: Workspace[] = [];
afterEach(() => {
  for (const work of workspaces.splice(0)) work.remove();
});
const workspace = (): Workspace => {
  const work = createWorkspace();
  workspaces.push(work);
  return work;
};

/** Writes one file after the other, by two processes, until it is killed. */
const startWriter = async (directory: string) => {
  const loop = 'n=0; while :; do n=$((n+1)); echo > "$0-$n"; done';
  const child = spawn("sh", ["-c", `sh -c '${loop}' one & echo up; exec sh -c '${loop}' other`], {
    cwd: directory,
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(child.stdout, "data");
  return child;
};

test.skipIf(!isLinux)(`a directory is removed from under programs that write to it${note}`, async () => {
  const work = workspace();
  mkdirSync(work.at("below"));
  const child = await startWriter(work.at("below"));
  const closed = once(child, "close");
  work.remove();
  expect(processesIn(work.path)).toEqual([]);
  // Its pipe closes when the last of both has ended.
  await closed;
  expect(child.signalCode).toBe("SIGKILL");
});

test.skipIf(!isLinux)(`programs elsewhere go on, also beside a directory of a like name${note}`, async () => {
  const work = workspace();
  mkdirSync(work.at("name"));
  mkdirSync(work.at("name-and-more"));
  const child = await startWriter(work.at("name-and-more"));
  endProcessesIn(work.at("name"));
  expect(processesIn(work.at("name-and-more")).length).toBeGreaterThanOrEqual(1);
  expect([child.exitCode, child.signalCode]).toEqual([null, null]);
});
