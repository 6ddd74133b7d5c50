/** The request handler alone, with a line of the test's own, and a client on a real socket. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { createRequestHandler } from "../../src/sidecar/ingress/handler.ts";
import { createListener } from "../../src/sidecar/ingress/listener.ts";
import { createLoad, type Load } from "../../src/sidecar/ingress/load.ts";
import type { Line } from "../../src/sidecar/pipeline/line.ts";
import { aGeneration } from "./generation.ts";
import { openConnection, type RawConnection } from "./raw-client.ts";

export interface HandlerStage {
  readonly connection: RawConnection;
  /** Codes of the refusals on record. */
  readonly refused: readonly unknown[];
  readonly load: Load;
}

/** `isLocal`: whether the client counts as one on this machine. Gone with the test. */
export const openHandler = async (line: Line, isLocal: boolean): Promise<HandlerStage> => {
  const refused: unknown[] = [];
  const generation = aGeneration({ line });
  const load = createLoad();
  const handler = createRequestHandler({
    current: () => generation,
    broker: { record: async (event: { readonly code?: string | undefined }) => void refused.push(event.code) } as never,
    agent: "a",
    clock: systemClock,
    log: silentLog,
    instance: "i",
    draining: () => false,
    load,
  });
  const server = createListener((socket) => handler.serve(socket, { way: "forward", isLocal })).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const connection = await openConnection((server.address() as AddressInfo).port);
  onTestFinished(() => connection.destroy());
  return { connection, refused, load };
};
