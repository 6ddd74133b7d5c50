import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isSidekeyError, type SidekeyError } from "../../../../../src/core/errors.ts";
import { sourceKinds } from "../../../../../src/sidecar/secrets/kinds/index.ts";
import { CONTEXT, depsIn, refTo } from "./support.ts";

const [, , , exec] = sourceKinds;
type Fields = Parameters<typeof exec.create>[0];

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sidekey-exec-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A source whose program is this shell script; `$1` is the path. */
const sourceOf = (script: string, fields: Partial<Fields> = {}, environment: Record<string, string> = {}) => {
  writeFileSync(join(directory, "program"), `#!/bin/sh\n${script}\n`, { mode: 0o700 });
  const all: Fields = { kind: "exec", command: ["./program", "{path}"], timeout: 5_000, env: [], ...fields };
  return exec.create(all, depsIn(directory, { environment }));
};

const fetch = async (source: ReturnType<typeof sourceOf>, path = "a/b"): Promise<string> =>
  (await source.fetch(refTo(path), CONTEXT)).value.lend(String);

const failureOf = async (asked: Promise<unknown>): Promise<SidekeyError> => {
  try {
    await asked;
  } catch (error) {
    if (isSidekeyError(error)) return error;
    throw error;
  }
  throw new Error("no failure");
};

const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

describe("the fields of an exec source", () => {
  it.each([
    [["/bin/cat"]],
    [["/bin/cat", "{path}"]],
    [["pass", "show", "{path}", ""]],
    [["x", "{path}", "{path}"]],
    [["x", "{ path }"]],
  ])("take %j", (command) => {
    expect(exec.fields.parse({ kind: "exec", command })).toEqual({ kind: "exec", command, timeout: 5_000, env: [] });
  });

  it.each([
    [{ command: [] }],
    [{ command: "cat {path}" }],
    [{ command: [""] }],
    [{ command: ["{path}"] }],
    [{ command: ["x", "--file={path}"] }],
    [{ command: ["x", "{path} "] }],
    [{ command: ["x", "a\0b"] }],
    [{ command: ["x", 5] }],
    [{ command: ["x"], timeout: "0s" }],
    [{ command: ["x"], timeout: "1h" }],
    [{ command: ["x"], env: ["A=B"] }],
    [{ command: ["x"], env: { A: "B" } }],
    [{ command: ["x"], shell: true }],
    [{}],
  ])("refuse %j", (fields) => {
    expect(exec.fields.safeParse({ kind: "exec", ...fields }).success).toBe(false);
  });
});

describe("the program of an exec source", () => {
  it("gets the path as one whole argument, and no shell reads it", async () => {
    const source = sourceOf('printf "%s|" "$#" "$@"', { command: ["./program", "get", "{path}", "{path}"] });
    const path = `a b; touch ${directory}/x $(id) \`id\` 'q' "q" * {path}`;
    expect(await fetch(source, path)).toBe(`3|get|${path}|${path}|`);
    expect(existsSync(join(directory, "x"))).toBe(false);
  });

  it("gets the variables that are named and no others, not even PATH", async () => {
    const environment = { HOME: "/home/x", TOKEN: "t", PATH: process.env["PATH"] ?? "", API_KEY: "canary" };
    const script = "/usr/bin/tr '\\0\\n' '||' < /proc/$$/environ";
    expect(await fetch(sourceOf(script, { env: ["TOKEN", "ABSENT", "constructor"] }, environment))).toBe("TOKEN=t|");
    expect(await fetch(sourceOf(`${script}; printf .`, {}, environment))).toBe(".");
  });

  it("runs in the file's directory, without an input and in a group of its own", async () => {
    expect(await fetch(sourceOf("pwd"))).toBe(directory);
    expect(await fetch(sourceOf("/bin/cat; printf end"))).toBe("end");
    const group = Number(await fetch(sourceOf("/bin/cut -d' ' -f5 /proc/$$/stat")));
    expect(group).toBeGreaterThan(0);
    expect(group).not.toBe(Number(readFileSync("/proc/self/stat", "utf8").split(" ")[4]));
  });

  it("is found in the sidecar's PATH when it has no slash, never in a relative entry of it", async () => {
    sourceOf("printf mine");
    const create = (path: string) =>
      exec.create(
        { kind: "exec", command: ["program"], timeout: 5_000, env: [] },
        depsIn(directory, { environment: { PATH: path } }),
      );
    expect(await fetch(create(`/nowhere:${directory}`))).toBe("mine");
    for (const path of ["", ".", ":", "relative"]) {
      expect(() => create(path)).toThrow(/^CONFIG_INVALID.*there is no program "program"/s);
    }
  });

  it.each(["./missing", "/nowhere/program", "./not-executable", "./"])("is asked for at the start: %s", (name) => {
    writeFileSync(join(directory, "not-executable"), "x", { mode: 0o600 });
    const create = () => exec.create({ kind: "exec", command: [name], timeout: 1, env: [] }, depsIn(directory));
    expect(create).toThrow(/^CONFIG_INVALID/);
  });

  it("may go away later, which is an outage", async () => {
    const source = sourceOf("printf x");
    rmSync(join(directory, "program"));
    expect((await failureOf(fetch(source))).code).toBe("SOURCE_UNAVAILABLE");
  });

  it.each([
    ["", "SOURCE_SECRET_MISSING"],
    ["echo", "SOURCE_SECRET_MISSING"],
    ["exit 66", "SOURCE_SECRET_MISSING"],
    ["exit 77", "SOURCE_FORBIDDEN"],
    ["printf 'canary\\ncanary'", "SOURCE_BAD_VALUE"],
    ["exit 1", "SOURCE_UNAVAILABLE"],
    ["printf canary; exit 255", "SOURCE_UNAVAILABLE"],
    ["kill -9 $$", "SOURCE_UNAVAILABLE"],
    ["echo canary >&2; echo canary; exit 1", "SOURCE_UNAVAILABLE"],
    ["echo canary >&2; exit 66", "SOURCE_SECRET_MISSING"],
  ])("that does %j ends in %s, and nothing that it wrote is shown", async (script, code) => {
    const error = await failureOf(fetch(sourceOf(script)));
    expect(error.code).toBe(code);
    expect(inspect(error, { depth: 9, showHidden: true }) + error.stack).not.toContain("canary");
  });

  it("says how much it wrote to standard error", async () => {
    expect((await failureOf(fetch(sourceOf("echo canary >&2; exit 3")))).message).toContain(
      "ended with 3; the 7 bytes",
    );
  });

  it("may fill standard error without end before it answers", async () => {
    expect(await fetch(sourceOf("/usr/bin/head -c 3000000 /dev/zero >&2; printf fine"))).toBe("fine");
  });

  it("is not listened to past the largest value, and ends", async () => {
    const began = performance.now();
    const source = sourceOf("echo $$ > pid; exec /bin/cat /dev/zero", { timeout: 30_000 });
    expect((await failureOf(fetch(source))).code).toBe("SOURCE_BAD_VALUE");
    expect(performance.now() - began).toBeLessThan(20_000);
    const pid = Number(readFileSync(join(directory, "pid"), "utf8"));
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  it("is killed when it has said too much and goes on", async () => {
    const source = sourceOf("echo $$ > pid; /usr/bin/head -c 3000000 /dev/zero; exec /bin/sleep 300", {
      timeout: 60_000,
    });
    expect((await failureOf(fetch(source))).code).toBe("SOURCE_BAD_VALUE");
    const pid = Number(readFileSync(join(directory, "pid"), "utf8"));
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  it("is killed after its time, with what it started", async () => {
    const source = sourceOf("/bin/sleep 60 & echo $! > pid; wait", { timeout: 2_000 });
    const error = await failureOf(fetch(source));
    expect(error.message).toContain("SOURCE_UNAVAILABLE");
    expect(error.message).toContain("had not ended after 2000 ms and was killed");
    const pid = Number(readFileSync(join(directory, "pid"), "utf8"));
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  it("is not waited for when a child of its own escaped with its output", async () => {
    const source = sourceOf("/usr/bin/setsid /bin/sleep 10 & exit 0", { timeout: 300 });
    const began = performance.now();
    expect((await failureOf(fetch(source))).code).toBe("SOURCE_UNAVAILABLE");
    expect(performance.now() - began).toBeLessThan(8_000);
  });

  it("is killed when its source is closed, or nobody waits for it any more", async () => {
    const source = sourceOf("echo $$ >> pids; exec /bin/sleep 60", { timeout: 30_000 });
    const abort = new AbortController();
    const fetches = [fetch(source), source.fetch(refTo("a/b"), { ...CONTEXT, signal: abort.signal })];
    const failures = Promise.all(fetches.map(failureOf));
    await expect.poll(() => pidsIn().length).toBe(2);
    abort.abort();
    await source.close();
    expect((await failures).map(({ code }) => code)).toEqual(["SOURCE_UNAVAILABLE", "SOURCE_UNAVAILABLE"]);
    for (const pid of pidsIn()) await expect.poll(() => isAlive(pid)).toBe(false);
  });

  const pidsIn = (): number[] => {
    const file = join(directory, "pids");
    return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").filter(Boolean).map(Number) : [];
  };

  it("runs four times at once and no more, and the others get their turn", async () => {
    const script =
      'mkdir "run-$$"; ls -d run-* | /usr/bin/wc -l >> seen; /bin/sleep 0.1; rmdir "run-$$"; printf %s "$1"';
    const source = sourceOf(script, { env: ["PATH"], timeout: 30_000 }, { PATH: process.env["PATH"] ?? "" });
    const paths = Array.from({ length: 12 }, (_, i) => `path-${i}`);
    expect(await Promise.all(paths.map((path) => fetch(source, path)))).toEqual(paths);
    const seen = readFileSync(join(directory, "seen"), "utf8").trim().split("\n").map(Number);
    expect(Math.max(...seen)).toBeLessThanOrEqual(4);
    expect(Math.max(...seen)).toBeGreaterThan(1);
  });

  it("leaves nobody in the queue for longer than the timeout", async () => {
    // One round of it, not the three that they would need.
    const source = sourceOf("exec /bin/sleep 60", { timeout: 2_500 });
    const began = performance.now();
    const failures = await Promise.all(Array.from({ length: 12 }, () => failureOf(fetch(source))));
    expect(new Set(failures.map(({ code }) => code))).toEqual(new Set(["SOURCE_UNAVAILABLE"]));
    expect(performance.now() - began).toBeLessThan(7_000);
  });

  it.each(["-x", "--help", "", "a\nb"])("is never started for the path %j", async (path) => {
    const source = sourceOf("echo x >> started; printf x");
    expect((await failureOf(fetch(source, path))).code).toBe("SOURCE_SECRET_MISSING");
    expect(existsSync(join(directory, "started"))).toBe(false);
  });
});
