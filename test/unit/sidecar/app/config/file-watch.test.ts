/** The watch of a file, on real files: what it tells, how often, and what it takes to be told again. */
import { mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../../../../src/core/log.ts";
import { type FileWatchOptions, watchFile } from "../../../../../src/sidecar/app/config/file-watch.ts";

let directory: string;
let path: string;
let watch: { close(): Promise<void> | void } | undefined;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sidekey-watch-"));
  path = join(directory, "file");
  writeFileSync(path, "one");
});
afterEach(() => {
  watch?.close();
  watch = undefined;
  rmSync(directory, { recursive: true });
});

const start = (options: Partial<FileWatchOptions> = {}) => {
  const told = { changes: 0, warnings: 0 };
  watch = watchFile({
    path,
    changed: async () => {
      told.changes += 1;
    },
    log: {
      ...silentLog,
      warn() {
        told.warnings += 1;
      },
    },
    settleMs: 20,
    ...options,
  });
  return told;
};

const quiet = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("the watch of a file", () => {
  it("tells of the file as it finds it, then of each change, and of nothing else", async () => {
    const told = start();
    await expect.poll(() => told.changes).toBe(1);
    for (let i = 0; i < 20; i += 1) writeFileSync(join(directory, `other-${i}`), "x");
    await quiet(200);
    expect(told.changes).toBe(1);
    writeFileSync(path, "two");
    await expect.poll(() => told.changes).toBe(2);
    const now = new Date();
    utimesSync(path, now, now);
    await expect.poll(() => told.changes).toBe(3);
  });

  it("finds a change without any event, by looking", async () => {
    const told = start({ path: join(directory, "elsewhere", "..", "file"), everyMs: 50, eventMs: 1e9 });
    await expect.poll(() => told.changes).toBe(1);
    writeFileSync(path, "two");
    await expect.poll(() => told.changes).toBe(2);
  });

  it("waits for the end of a write that goes on", async () => {
    const told = start({ settleMs: 80 });
    await expect.poll(() => told.changes).toBe(1);
    for (let i = 0; i < 20; i += 1) {
      writeFileSync(path, "x".repeat(i));
      await quiet(10);
    }
    expect(told.changes).toBe(1);
    await expect.poll(() => told.changes).toBe(2);
  });

  it("says once that the file is gone, and tells of the next one there", async () => {
    const told = start({ everyMs: 20 });
    await expect.poll(() => told.changes).toBe(1);
    renameSync(path, `${path}.away`);
    await expect.poll(() => told.warnings).toBe(1);
    await quiet(150);
    expect(told).toEqual({ changes: 1, warnings: 1 });
    renameSync(`${path}.away`, path);
    await expect.poll(() => told.changes).toBe(2);
  });

  it("looks at a busy directory's file some times a second, not once for each event", async () => {
    const told = start({ everyMs: 1e9, eventMs: 100 });
    await expect.poll(() => told.changes).toBe(1);
    const began = performance.now();
    let writes = 0;
    while (performance.now() - began < 500) {
      writes += 1;
      writeFileSync(path, `busy ${writes}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const most = 2 + (performance.now() - began) / 100;
    expect(writes).toBeGreaterThan(most);
    expect(told.changes).toBeLessThanOrEqual(most);
  });

  it("is still after its end", async () => {
    const told = start({ everyMs: 20 });
    await expect.poll(() => told.changes).toBe(1);
    watch?.close();
    writeFileSync(path, "two");
    await quiet(200);
    expect(told.changes).toBe(1);
  });
});
