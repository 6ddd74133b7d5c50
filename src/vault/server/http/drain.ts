/** Stopping in order: no new connections, an end to idle ones, time for requests in flight, then an end to the rest. */
import type { Server } from "node:http";

export interface Drain {
  isDraining(): boolean;
  stop(server: Server, graceMs: number): Promise<void>;
}

/** A connection that becomes idle is closed within this. `ms` */
const SWEEP_MS = 50;

export const createDrain = (): Drain => {
  let draining = false;
  return {
    isDraining: () => draining,
    stop(server, graceMs) {
      draining = true;
      return new Promise((resolve) => {
        const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS);
        const end = setTimeout(() => server.closeAllConnections(), graceMs);
        // One that never listened calls back as well, with an error.
        server.close(() => {
          clearInterval(sweep);
          clearTimeout(end);
          resolve();
        });
        server.closeIdleConnections();
      });
    },
  };
};
