import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { nodeAuditFs } from "../../../src/audit/file-access.ts";
import { isLockable, lockAudit, type Processes, systemProcesses, takeLock } from "../../../src/audit/lock.ts";
import { tempDir } from "./support.ts";

let counter = 0;
const nonce = (): Buffer => Buffer.from((counter++).toString(16).padStart(16, "0"), "hex");

/** Processes by pid with their start times; the first is this one. */
const among = (pid: number, living: Record<number, string | undefined>): Processes => ({
  pid,
  startTime: (asked) => living[asked],
  isAlive: (asked) => asked in living,
});

const lockAs = (path: string, processes: Processes) => takeLock(path, nonce().toString("hex"), nodeAuditFs, processes);

describe("the audit lock", () => {
  it("is held by one process, is named by its pid, and is free after release", () => {
    const directory = tempDir();
    const path = join(directory, "audit.jsonl");
    const living = { 100: "5", 200: "6" };
    const lock = lockAs(path, among(100, living));
    expect(() => lockAs(path, among(200, living))).toThrow(/AUDIT_LOCKED.*process 100/);
    expect(() => lockAs(path, among(100, living))).toThrow(/AUDIT_LOCKED.*process 100/);
    lock.release();
    lock.release();
    lockAs(path, among(200, living)).release();
    expect(readdirSync(directory)).toEqual([]);
  });

  it("is taken over from a process that is dead, and from one whose pid was given to another", () => {
    const directory = tempDir();
    const path = join(directory, "audit.jsonl");
    lockAs(path, among(100, { 100: "5" }));
    const second = lockAs(path, among(200, { 200: "6" }));
    expect(() => lockAs(path, among(300, { 200: "6", 300: "7" }))).toThrow(/process 200/);
    const third = lockAs(path, among(300, { 200: "99", 300: "7" }));
    second.release();
    expect(existsSync(`${path}.lock`)).toBe(true);
    third.release();
    expect(readdirSync(directory)).toEqual([]);
  });

  it("goes by the pid alone where start times are not known", () => {
    const path = join(tempDir(), "audit.jsonl");
    lockAs(path, among(100, { 100: undefined }));
    expect(() => lockAs(path, among(200, { 100: "5", 200: undefined }))).toThrow(/process 100/);
    lockAs(path, among(200, { 200: undefined })).release();
  });

  it("is taken over from what a power loss left, and after a crash in the middle of a takeover", () => {
    const directory = tempDir();
    const path = join(directory, "audit.jsonl");
    writeFileSync(`${path}.lock`, "");
    lockAs(path, among(100, { 100: "5" }));
    const [, , stale = ""] = readFileSync(`${path}.lock`, "utf8").trim().split(" ");
    writeFileSync(`${path}.lock.${stale}`, "150 9 00000000000000ff\n");
    lockAs(path, among(200, { 200: "6" })).release();
    expect(readdirSync(directory)).toEqual([]);
  });

  it("refuses while another living process takes over", () => {
    const path = join(tempDir(), "audit.jsonl");
    writeFileSync(`${path}.lock`, "100 5 00000000000000aa\n");
    writeFileSync(`${path}.lock.00000000000000aa`, "150 9 00000000000000ff\n");
    expect(() => lockAs(path, among(200, { 150: "9", 200: "6" }))).toThrow(/AUDIT_LOCKED.*process 150/);
    expect(readFileSync(`${path}.lock`, "utf8")).toBe("100 5 00000000000000aa\n");
  });

  it("is not taken over by the second of two that saw the same dead holder", () => {
    const path = join(tempDir(), "audit.jsonl");
    const living = { 200: "6", 300: "7" };
    writeFileSync(`${path}.lock`, "100 5 00000000000000aa\n");
    let rival: string | undefined;
    // The rival comes and goes between our reading the dead holder and our taking over.
    const slow = {
      ...among(200, living),
      isAlive(pid: number) {
        if (pid === 100 && rival === undefined) {
          rival = "taken";
          lockAs(path, among(300, living));
        }
        return pid in living;
      },
    };
    expect(() => lockAs(path, slow)).toThrow(/AUDIT_LOCKED.*process 300/);
  });

  it("knows this process, and one that is gone", () => {
    const processes = systemProcesses(nodeAuditFs);
    expect(processes.isAlive(process.pid)).toBe(true);
    expect(processes.startTime(process.pid)).toMatch(/^[0-9]+$/);
    expect(processes.isAlive(2 ** 30)).toBe(false);
    expect(processes.startTime(2 ** 30)).toBeUndefined();
  });

  it("is not asked for on a device", () => {
    expect(isLockable("/dev/full")).toBe(false);
    expect(isLockable("/var/log/audit.jsonl")).toBe(true);
  });

  it("takes a process that is dead and was not reaped for dead", async () => {
    // What `sh` becomes waits for no child.
    const parent = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const [line] = await once(parent.stdout, "data");
      const pid = Number(String(line));
      const stateOf = () => /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
      await expect.poll(stateOf).toBe("Z");
      expect(systemProcesses(nodeAuditFs).isAlive(pid)).toBe(false);
    } finally {
      parent.kill("SIGKILL");
    }
  });
});

describe("the audit lock with a socket beside it", () => {
  const lockIn = (path: string, processes: Processes) => lockAudit(path, nonce, nodeAuditFs, processes);
  /** Two that do not see each other's processes. */
  const here = among(100, { 100: "5" });
  const there = among(100, { 100: "6" });

  it.each([
    ["a short path", ""],
    ["a path too long for a socket's address", "d".repeat(120)],
  ])("is held across containers by %s, until its holder goes", async (_, name) => {
    const directory = join(tempDir(), name);
    mkdirSync(directory, { recursive: true });
    const path = join(directory, "audit.jsonl");
    const lock = await lockIn(path, here);
    await expect(lockIn(path, there)).rejects.toThrow(/AUDIT_LOCKED.*process 100 of another container/);
    await expect(lockIn(path, here)).rejects.toThrow(/AUDIT_LOCKED.*process 100\./);
    expect(readdirSync(directory)).toHaveLength(2);
    lock.release();
    expect(readdirSync(directory)).toEqual([]);
    (await lockIn(path, there)).release();
  });

  it("is taken over from a holder that was killed, and its socket removed", async () => {
    const directory = tempDir();
    const path = join(directory, "audit.jsonl");
    const module = JSON.stringify(new URL("../../../src/audit/lock.ts", import.meta.url).pathname);
    const access = JSON.stringify(new URL("../../../src/audit/file-access.ts", import.meta.url).pathname);
    const program = `
      import { lockAudit } from ${module};
      import { nodeAuditFs } from ${access};
      import { randomBytes } from "node:crypto";
      lockAudit(process.argv[1], randomBytes, nodeAuditFs).then(() => { console.log("held"); setInterval(() => {}, 1e6); });`;
    const holder = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program, path]);
    try {
      await once(holder.stdout, "data");
      await expect(lockIn(path, there)).rejects.toThrow(
        new RegExp(`AUDIT_LOCKED.*process ${holder.pid} of another container`),
      );
      expect(readdirSync(directory)).toHaveLength(2);
      const gone = once(holder, "exit");
      holder.kill("SIGKILL");
      await gone;
      (await lockIn(path, there)).release();
      expect(readdirSync(directory)).toEqual([]);
    } finally {
      holder.kill("SIGKILL");
    }
  });

  it("falls back on process ids where another held it without a socket", async () => {
    const path = join(tempDir(), "audit.jsonl");
    const lock = lockAs(path, here);
    await expect(lockIn(path, here)).rejects.toThrow(/AUDIT_LOCKED.*process 100\./);
    lock.release();
    (await lockIn(path, here)).release();
  });
});
