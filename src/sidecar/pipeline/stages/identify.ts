/** Who is calling. One agent per sidecar: its name comes from the file, never from the request. */
import type { Identified, InboundRequest, Stage } from "../messages.ts";

export const createIdentify =
  (agent: string): Stage<InboundRequest, Identified> =>
  (request) =>
    ({ request, agent }) as Identified;
