/** Looks for byte strings in the memory of another process, by /proc/PID/maps and /proc/PID/mem (proc(5)). Linux alone. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const CHUNK = 1024 * 1024;

export interface MemoryScan {
  /** Of the needles: those that were found. */
  readonly found: readonly string[];
  /** What could be read, in bytes. */
  readonly bytes: number;
}

/** Every readable mapping, in pieces that overlap by the longest needle. The process may go on meanwhile. */
export const scanMemory = (pid: number, needles: readonly string[]): MemoryScan => {
  const patterns = needles.map((needle) => Buffer.from(needle));
  const overlap = Math.max(...patterns.map(({ length }) => length)) - 1;
  const found = new Set<string>();
  let bytes = 0;
  const memory = openSync(`/proc/${pid}/mem`, "r");
  const buffer = Buffer.alloc(CHUNK + overlap);
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
      const [, from = "", to = "", mode = "", name = ""] =
        /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line) ?? [];
      // The kernel's own pages cannot be read this way.
      if (!mode.startsWith("r") || name === "[vvar]" || name === "[vsyscall]") continue;
      const end = BigInt(`0x${to}`);
      for (let at = BigInt(`0x${from}`); at < end; at += BigInt(CHUNK)) {
        const left = end - at;
        const length = left < BigInt(buffer.length) ? Number(left) : buffer.length;
        const read = readPiece(memory, buffer, length, at);
        bytes += Math.min(read, CHUNK);
        const piece = buffer.subarray(0, read);
        for (const [index, pattern] of patterns.entries()) if (piece.includes(pattern)) found.add(needles[index] ?? "");
      }
    }
  } finally {
    closeSync(memory);
  }
  return { found: [...found], bytes };
};

/** 0 for what is gone by now, or was never there. */
const readPiece = (file: number, buffer: Buffer, length: number, at: bigint): number => {
  try {
    return readSync(file, buffer, 0, length, at);
  } catch {
    return 0;
  }
};
