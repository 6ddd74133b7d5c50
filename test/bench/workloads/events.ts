/** Server-sent events: from the moment the upstream writes one to the moment the client has it. */
import { difference, entranceOf, plain, ratio, runProgram, type Workload } from "./workload.ts";

const STREAMS = 8;
const GAP_MS = 10;
/** Of the others' window: of 1,200 events, the p99 is the twelfth slowest, and swings by 5 ms between two runs. */
const WINDOWS = 4;

export const events: Workload = {
  name: "events",
  title: `Server-sent events, ${STREAMS} streams, one each ${GAP_MS} ms: latency per event`,
  way: "intercepted",
  columns: [
    difference("median", "p50 ms", 3),
    difference("p99", "p99 ms", 3),
    ratio("cpu", "CPU µs an event", 0),
    plain("events", "events", 0),
  ],
  run: (bench, target, { seconds, warmSeconds }) =>
    runProgram(bench, "programs/events.ts", {
      ...entranceOf(target),
      streams: STREAMS,
      gapMs: GAP_MS,
      warm: Math.ceil((warmSeconds * 1000) / GAP_MS),
      count: Math.ceil((WINDOWS * seconds * 1000) / GAP_MS),
    }),
};
