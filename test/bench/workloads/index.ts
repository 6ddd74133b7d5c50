/** The workloads, in the order of the report: tunnels first, in fresh processes; memory last, as it reads what is left. */
import { down, up } from "./bodies.ts";
import { cold, full, resumed } from "./connections.ts";
import { events } from "./events.ts";
import { memory, tunnels } from "./memory.ts";
import { gateway, intercepted, posts } from "./requests.ts";
import type { Workload } from "./workload.ts";

export const WORKLOADS: readonly Workload[] = [
  tunnels,
  intercepted,
  gateway,
  posts,
  down,
  up,
  events,
  full,
  resumed,
  cold,
  memory,
];
