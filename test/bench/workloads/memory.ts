/** Resident memory: with idle tunnels in a fresh process, and after everything else. */
import { readMemory } from "../measure.ts";
import { entranceOf, plain, ratio, runProgram, type Workload } from "./workload.ts";

export const tunnels: Workload = {
  name: "tunnels",
  title: "Idle intercepted tunnels, each used once, opened for at most 10 s",
  way: "intercepted",
  columns: [plain("opened", "tunnels", 0), plain("each", "KiB a tunnel", 1), ratio("memory", "with them, RSS MiB", 0)],
  run: (bench, target, effort) =>
    runProgram(bench, "programs/tunnels.ts", { ...entranceOf(target), tunnels: effort.tunnels }),
};

export const memory: Workload = {
  name: "memory",
  title: "Memory: idle after the start, and after all of the above",
  way: "intercepted",
  columns: [ratio("idle", "idle, RSS MiB", 0), ratio("loaded", "loaded, RSS MiB", 0), plain("peak", "peak MiB", 0)],
  run: (_bench, target) => {
    const { now, peak } = readMemory(target.running.pid);
    return Promise.resolve({ idle: target.idleMemory, loaded: now, peak });
  },
};
