/**
 * R15, ruling 7: whatever happens to the audit file of a running sidecar, nothing is forwarded that is not on record
 * first; the answer is 503 AUDIT_UNAVAILABLE, `/readyz` says why, and it goes on by itself when the fault is gone.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { setup } from "../support/build.ts";
import { openScene, type Process, type Scene } from "./audit-process.ts";

const PATIENCE = { timeout: 20_000, interval: 20 };

beforeAll(setup, 120_000);

let scene: Scene;
const helpers: ChildProcess[] = [];

afterEach(async () => {
  for (const helper of helpers.splice(0)) helper.kill("SIGKILL");
  await scene.close();
});

const helper = (command: string, args: readonly string[]): ChildProcess => {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  helpers.push(child);
  return child;
};

/** Refused, told so, unready; and not a byte went out. */
const expectRefused = async (process: Process): Promise<void> => {
  const before = scene.reached().length;
  for (let i = 0; i < 3; i++) {
    const { status, body } = await process.call(`refused-${i}`);
    expect({ status, code: JSON.parse(body).error.code }).toEqual({ status: 503, code: "AUDIT_UNAVAILABLE" });
  }
  const ready = await process.isReady();
  expect({ status: ready.status, reasons: JSON.parse(ready.body).reasons }).toEqual({
    status: 503,
    reasons: ["audit"],
  });
  expect(scene.reached().slice(before)).toEqual([]);
};

/** By itself: no request needs to come first. */
const expectRecovered = async (process: Process, id: string): Promise<void> => {
  await expect.poll(async () => (await process.isReady()).status, PATIENCE).toBe(200);
  expect((await process.call(id)).status).toBe(200);
  expect(scene.reached().at(-1)).toBe(`/v1/${id}`);
};

const untilRefused = (process: Process): Promise<void> =>
  expect.poll(async () => (await process.call("until-refused")).status, PATIENCE).toBe(503);

/** Each path that reached the upstream stands in an intent of these texts, as often. */
const expectAllOnRecord = (text: string): void => {
  const intents = text
    .split("\n")
    .filter((line) => line.endsWith('"}') && line.includes('"type":"intent"'))
    .map((line) => String(JSON.parse(line).path));
  const count = (paths: readonly string[]): Map<string, number> => {
    const counts = new Map<string, number>();
    for (const path of paths) counts.set(path, (counts.get(path) ?? 0) + 1);
    return counts;
  };
  const onRecord = count(intents);
  for (const [path, times] of count(scene.reached())) expect(onRecord.get(path) ?? 0).toBeGreaterThanOrEqual(times);
};

const canMount = spawnSync("unshare", ["-m", "true"]).status === 0;

describe("a sidecar whose audit", () => {
  it("is /dev/full forwards nothing, and ends in order", async () => {
    scene = await openScene("audit: { path: /dev/full }");
    const process = await scene.start();
    await expectRefused(process);
    expect((await process.stop()).code).toBe(0);
    expect(scene.reached()).toEqual([]);
  });

  it("reaches a limit of its size refuses what does not fit, whole, and goes on when there is room", async () => {
    scene = await openScene();
    const process = await scene.start();
    expect((await process.call("first")).status).toBe(200);
    const file = scene.work.at(".sidekey/audit.jsonl");
    const limit = readFileSync(file).length + 3_333;
    execFileSync("prlimit", [`--pid=${process.child.pid}`, `--fsize=${limit}:`]);
    await untilRefused(process);
    await expectRefused(process);
    expect(readFileSync(file, "latin1")).toMatch(/\}\n$/);
    execFileSync("prlimit", [`--pid=${process.child.pid}`, "--fsize=unlimited:"]);
    await expectRecovered(process, "later");
    expect((await process.stop()).code).toBe(0);
    expect(readFileSync(file, "latin1")).toMatch(/"reason":"resumed after \d+ refused records, (?:short write|EFBIG)"/);
    expectAllOnRecord(readFileSync(file, "latin1"));
    expect(await scene.verify()).toMatchObject({ code: 0 });
  });

  // Mounting needs rights that not every machine gives; the limit above is the same fault without.
  if (canMount)
    it("is on a full disk of 64 KiB, again and again, loses nothing and forwards nothing", async () => {
      scene = await openScene("audit: { path: ./disk/audit.jsonl }");
      mkdirSync(scene.work.at("disk"));
      const process = await scene.start({
        before: `exec unshare -m bash -c 'mount -t tmpfs -o size=64k tmpfs disk && exec "$@"' bash "$@"; true`,
      });
      const disk = `/proc/${process.child.pid}/root${scene.work.at("disk")}`;
      for (let round = 0; round < 3; round++) {
        await expectRecovered(process, `round-${round}`);
        const filler = openSync(join(disk, "filler"), "w");
        try {
          for (;;) writeSync(filler, Buffer.alloc(4096));
        } catch (error) {
          expect(error).toMatchObject({ code: "ENOSPC" });
        } finally {
          closeSync(filler);
        }
        await untilRefused(process);
        await expectRefused(process);
        rmSync(join(disk, "filler"));
      }
      await expectRecovered(process, "end");
      const text = readFileSync(join(disk, "audit.jsonl"), "latin1");
      expectAllOnRecord(text);
      expect(text.match(/"reason":"resumed after/g)).toHaveLength(3);
      expect((await process.stop()).code).toBe(0);
    });

  it("is deleted makes it anew within its look, and verify tells what is missing", async () => {
    scene = await openScene();
    const process = await scene.start();
    expect((await process.call("before")).status).toBe(200);
    const file = scene.work.at(".sidekey/audit.jsonl");
    rmSync(file);
    const textOf = (): string => {
      try {
        return readFileSync(file, "latin1");
      } catch {
        return "";
      }
    };
    await expect.poll(textOf, PATIENCE).toContain('"reason":"continues ');
    await expectRecovered(process, "after");
    expect(textOf()).toContain("/v1/after");
    expect((await process.stop()).code).toBe(0);
    const verdict = await scene.verify();
    expect(verdict.code).toBe(1);
    expect(verdict.stdout).toMatch(/BROKEN at record 1\. The records 1 to \d+ are missing/);
  });

  it("loses its directory, or finds one in its place, refuses until it can be opened again", async () => {
    scene = await openScene("audit: { path: ./logs/audit.jsonl }");
    const logs = scene.work.at("logs");
    mkdirSync(logs);
    const process = await scene.start();
    expect((await process.call("before")).status).toBe(200);
    renameSync(logs, scene.work.at("away"));
    await untilRefused(process);
    await expectRefused(process);
    renameSync(scene.work.at("away"), logs);
    await expectRecovered(process, "between");

    renameSync(join(logs, "audit.jsonl"), join(logs, "kept"));
    mkdirSync(join(logs, "audit.jsonl"));
    await untilRefused(process);
    await expectRefused(process);
    rmdirSync(join(logs, "audit.jsonl"));
    renameSync(join(logs, "kept"), join(logs, "audit.jsonl"));
    await expectRecovered(process, "after");
    expect((await process.stop()).code).toBe(0);
    expectAllOnRecord(readFileSync(join(logs, "audit.jsonl"), "latin1"));
    expect(await scene.verify()).toMatchObject({ code: 0 });
  });

  it("is a FIFO waits for its reader, and for the next one when that leaves", async () => {
    scene = await openScene("audit: { path: ./fifo }");
    const fifo = scene.work.at("fifo");
    execFileSync("mkfifo", [fifo]);
    const process = await scene.start();
    await expectRefused(process);
    for (const id of ["one", "two"]) {
      const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
      await expectRecovered(process, id);
      closeSync(reader);
      await untilRefused(process);
      await expectRefused(process);
    }
    expect((await process.stop()).code).toBe(0);
  });

  it("is a terminal that hangs up (EIO) forwards nothing from then on", async () => {
    const python =
      "import os, time\nmaster, slave = os.openpty()\nprint(os.ttyname(slave), flush=True)\nwhile True: os.read(master, 65536)";
    const terminal = helper("python3", ["-c", python]);
    const [name] = await once(terminal.stdout ?? process.stdin, "data");
    scene = await openScene(`audit: { path: ${String(name).trim()} }`);
    const running = await scene.start();
    expect((await running.call("before")).status).toBe(200);
    terminal.kill("SIGKILL");
    await once(terminal, "exit");
    await untilRefused(running);
    await expectRefused(running);
    expect((await running.stop()).code).toBe(0);
  });

  it("lies in a directory that cannot be written does not start, and says which", async () => {
    scene = await openScene("audit: { path: ./locked/audit.jsonl }");
    mkdirSync(scene.work.at("locked"), { mode: 0o500 });
    // To root modes mean nothing, a read-only mount does.
    const before = `exec unshare -m bash -c 'mount --bind locked locked && mount -o remount,ro,bind locked && exec "$@"' bash "$@"; true`;
    await expect(scene.start(canMount ? { before } : {})).rejects.toThrow(
      /AUDIT_UNAVAILABLE: .*locked\/audit\.jsonl: (?:EROFS|EACCES)\./,
    );
  });
});
