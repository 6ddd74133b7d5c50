/**
 * Job control (Linux, proc_pid_stat(5)): whether a program was stopped under a shell that waits for its job. Node says
 * of a child only that it ended.
 */
import { readFileSync } from "node:fs";

export interface ProcessState {
  /** One letter; `T` = stopped. */
  readonly state: string;
  /** Process group in the foreground of its terminal; -1 = no terminal. */
  readonly foreground: number;
}

/** Text of `/proc/PID/stat`; undefined when it is something else. */
export const parseStat = (text: string): ProcessState | undefined => {
  // The second field is the program's name in parentheses, and may hold anything.
  const [state = "", , , , , foreground] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return foreground === undefined ? undefined : { state, foreground: Number(foreground) };
};

/**
 * True for a stopped program with a terminal, in the foreground (Ctrl-Z) or in the background (it wanted to read).
 * Without a terminal no shell waits for the job: whoever stops the program there continues it alone, and it would find
 * us asleep.
 */
export const stoppedByTerminal = (pid: number): boolean => {
  const found = readStat(pid);
  return found !== undefined && found.state === "T" && found.foreground > 0;
};

const readStat = (pid: number): ProcessState | undefined => {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    // Gone already, or no /proc: then nothing is known, and we go on.
    return undefined;
  }
};
