/**
 * Syncs a log to the disk away from the event loop: `fdatasync` took 13 to 26 ms on a common cloud disk, once a second.
 * In a thread of its own, because libuv's pool is closed to the audit (ruling 7). It is about power loss only: no
 * record waits for it, and where the thread can't be had the sync happens here.
 */
import { Worker } from "node:worker_threads";
import { APPEND_FLAGS, type AuditFs } from "./file-access.ts";

export interface DiskSync {
  /** Calls back once; with an error (`code` is the errno) when the file at the path could not be synced. */
  sync(path: string, done: (error: Error | undefined) => void): void;
  close(): void;
}

/** In this thread, before it returns. */
export const createDirectSync = (fs: AuditFs): DiskSync => ({
  sync(path, done) {
    try {
      const fd = fs.openSync(path, APPEND_FLAGS);
      try {
        fs.fdatasyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    done(undefined);
  },
  close() {},
});

// Opens by path: a file descriptor that the log closed meanwhile could be another file's by now.
const THREAD = `
const { parentPort } = require("node:worker_threads");
const fs = require("node:fs");
parentPort.on("message", (path) => {
  let code = null;
  try {
    const fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
    try { fs.fdatasyncSync(fd); } finally { fs.closeSync(fd); }
  } catch (error) { code = String(error.code); }
  parentPort.postMessage(code);
});`;

/** Room for the few objects of the thread, in `MiB`. */
const HEAP = { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 };

/** In a thread that starts with the first sync and never keeps the process alive. One sync at a time. */
export const createThreadSync = (fs: AuditFs): DiskSync => {
  const direct = createDirectSync(fs);
  let thread: Worker | undefined;
  let broken = false;
  let pending: { readonly path: string; readonly done: (error: Error | undefined) => void } | undefined;

  const settle = (code: unknown): void => {
    const { done } = pending ?? {};
    pending = undefined;
    done?.(code === null ? undefined : Object.assign(new Error(`fdatasync: ${code}`), { code }));
  };

  const giveUp = (): void => {
    broken = true;
    thread = undefined;
    const { path, done } = pending ?? {};
    pending = undefined;
    if (path !== undefined && done !== undefined) direct.sync(path, done);
  };

  const start = (): Worker => {
    // No arguments and no environment: what the program was started with is not for this thread.
    const started = new Worker(THREAD, { eval: true, env: {}, execArgv: [], resourceLimits: HEAP });
    started.unref();
    return started.on("message", settle).on("error", giveUp);
  };

  return {
    sync(path, done) {
      if (broken) return direct.sync(path, done);
      pending = { path, done };
      thread ??= start();
      thread.postMessage(path);
    },
    close() {
      pending = undefined;
      void thread?.terminate();
      thread = undefined;
    },
  };
};
