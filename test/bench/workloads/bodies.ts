/** Bodies of 10 MB, down and up. */
import { BODY_LENGTH } from "../workbench.ts";
import { LARGE_BYTES } from "./upstream.ts";
import { type Figures, plain, ratio, runRequests, type Workload } from "./workload.ts";

const CONNECTIONS = 4;
const MEGABYTE = 1_000_000;

const columns = [
  ratio("speed", "MB/s", 0),
  ratio("cpu", "CPU ms a body", 1),
  ratio("medianLatency", "p50 ms", 0),
  plain("memory", "RSS MiB", 0),
];

const perBody = (figures: Figures): Figures => ({
  ...figures,
  speed: ((figures["rate"] ?? Number.NaN) * LARGE_BYTES) / MEGABYTE,
  cpu: (figures["cpuPerRequest"] ?? Number.NaN) / 1000,
});

export const down: Workload = {
  name: "down",
  title: `Bodies of 10 MB down, ${CONNECTIONS} connections`,
  way: "intercepted",
  columns,
  run: async (bench, target, effort) =>
    perBody(
      await runRequests(bench, target, "intercepted", effort, {
        connections: CONNECTIONS,
        bodyLength: LARGE_BYTES,
        path: "/down",
      }),
    ),
};

export const up: Workload = {
  name: "up",
  title: `Bodies of 10 MB up, ${CONNECTIONS} connections`,
  way: "intercepted",
  columns,
  run: async (bench, target, effort) =>
    perBody(
      await runRequests(bench, target, "intercepted", effort, {
        connections: CONNECTIONS,
        bodyLength: BODY_LENGTH,
        path: "/post",
        uploadBytes: LARGE_BYTES,
      }),
    ),
};
