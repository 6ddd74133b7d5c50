/**
 * Programs that a test has left in its directory: a shell's job, the agent of a `sidekey run` that was killed, a command
 * whose last line was all that the test waited for. Whoever writes there while the directory is removed makes the removal
 * fail. Linux alone; elsewhere none are seen. Must never end a process that is not of the directory.
 */
import { existsSync, readdirSync, readlinkSync, realpathSync } from "node:fs";
import { sep } from "node:path";

/** `ms`, between two looks. */
const PAUSE = 5;
/** `ms`, for the kernel to end what was killed. */
const PATIENCE = 20_000;

/** Ends every process that works in the directory or below, and returns when none is left. Errors: one that won't end. */
export const endProcessesIn = (directory: string): void => {
  const end = performance.now() + PATIENCE;
  for (let left = processesIn(directory); left.length > 0; left = processesIn(directory)) {
    if (performance.now() > end) throw new Error(`still in ${directory}: processes ${left.join(", ")}`);
    // Again each time round: one that was about to start another has done so.
    for (const pid of left) kill(pid);
    pause(PAUSE);
  }
};

/** A zombie has no directory any more, and is not among them. */
export const processesIn = (directory: string): readonly number[] => {
  // As the kernel names it. One that is gone by now has nobody in it who could write.
  const real = existsSync(directory) ? realpathSync(directory) : directory;
  return processes().filter((pid) => {
    const at = directoryOf(pid);
    return pid !== process.pid && (at === real || at?.startsWith(real + sep) === true);
  });
};

const processes = (): readonly number[] => {
  try {
    return readdirSync("/proc").map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
};

/** undefined: it is gone, or another user's. */
const directoryOf = (pid: number): string | undefined => {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
};

const kill = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
};

/** Without the event loop: a test's last hook may be no promise. */
const pause = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
