import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Call, call } from "../../../../src/cli/doctor/clients/call.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sidekey-call-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const shell = (script: string, more: Partial<Call> = {}) =>
  call({
    program: "/bin/sh",
    args: ["-c", script],
    environment: { PATH: process.env["PATH"] ?? "" },
    directory,
    timeoutMs: 60_000,
    signal: new AbortController().signal,
    ...more,
  });

const isAlive = (pid: number): boolean => {
  try {
    // A zombie that nobody has waited for yet is dead.
    return !/^\d+ \(.*\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

const pidIn = (name: string): number => Number(readFileSync(join(directory, name), "utf8"));
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
};

describe("a call", () => {
  it("ends with the code and both streams", async () => {
    expect(await shell("echo out; echo err >&2; exit 3")).toMatchObject({ code: 3, timedOut: false });
    const { output } = await shell("echo out; echo err >&2");
    expect(output.split("\n").sort()).toEqual(["", "err", "out"]);
  });

  it("keeps no more than 64 KiB", async () => {
    const { code, output } = await shell("head -c 1000000 /dev/zero | tr '\\0' x");
    expect({ code, length: output.length }).toEqual({ code: 0, length: 65_536 });
  });

  it("of what is no program has no code", async () => {
    expect(await call({ ...base(), program: join(directory, "none") })).toMatchObject({
      code: undefined,
      timedOut: false,
    });
  });

  it("is killed after its time, with what it started", async () => {
    const end = await shell("sleep 600 & echo $! > pid; wait", { timeoutMs: 500 });
    expect(end).toMatchObject({ code: undefined, timedOut: true });
    // A machine that is so busy that the shell wrote nothing yet has nothing to kill.
    if (existsSync(join(directory, "pid"))) await until(() => !isAlive(pidIn("pid")));
  });

  it("is killed when it is broken off, also before it began", async () => {
    const breaker = new AbortController();
    const running = shell("echo $$ > pid; exec sleep 600", { signal: breaker.signal });
    await until(() => existsSync(join(directory, "pid")));
    breaker.abort();
    expect(await running).toMatchObject({ code: undefined, timedOut: false });
    expect(await shell("exec sleep 600", { signal: breaker.signal })).toMatchObject({ code: undefined });
  });

  it("does not wait for what it leaves behind, and takes that away", async () => {
    const end = await shell("sleep 600 & echo $! > pid; exit 0");
    expect(end.code).toBe(0);
    await until(() => !isAlive(pidIn("pid")));
  });
});

const base = (): Call => ({
  program: "/bin/sh",
  args: [],
  environment: {},
  directory,
  timeoutMs: 60_000,
  signal: new AbortController().signal,
});
