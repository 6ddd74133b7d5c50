/**
 * The ways in, over whatever generation of the file serves: built once, since connections outlive a reload. Opens no
 * port.
 */
import { randomBytes } from "node:crypto";
import type { Server } from "node:net";
import type { AuditBroker } from "../../audit/broker.ts";
import { isLocalListener, type ListenAddress } from "../../config/addresses.ts";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import { createDoor, type Door } from "../ingress/door.ts";
import { createForwardProxy } from "../ingress/forward.ts";
import { createGateway } from "../ingress/gateway.ts";
import type { CurrentGeneration } from "../ingress/generation.ts";
import { createRequestHandler } from "../ingress/handler.ts";
import type { ListenerTraits } from "../ingress/listener-traits.ts";
import { createLoad, type Load } from "../ingress/load.ts";
import type { ContextCache } from "../tls/context-cache.ts";
import type { SidecarConfig } from "./config/model.ts";

export interface Parts {
  /** The keys that a reload cannot change. */
  readonly config: Pick<SidecarConfig, "agent" | "listen">;
  readonly current: CurrentGeneration;
  readonly broker: AuditBroker;
  readonly contexts: ContextCache;
  readonly clock: Clock;
  readonly log: Log;
  readonly draining: () => boolean;
}

export interface Assembled {
  /** For `listen()`. */
  readonly servers: { readonly proxy: Server; readonly gateway: Server };
  readonly door: Door;
  readonly load: Load;
}

export const assemble = (parts: Parts): Assembled => {
  const { current, broker, contexts, clock, log, draining } = parts;
  const { agent, listen } = parts.config;
  const { clients } = listen;
  const instance = randomBytes(6).toString("hex");
  const load = createLoad();
  const handler = createRequestHandler({ current, broker, agent, clock, log, instance, draining, load });
  const door = createDoor({ handler, clock, log, current, load });
  const proxy = createForwardProxy({
    handler,
    door,
    listener: listenerTraits(listen.proxy, clients),
    current,
    contexts,
    log,
    draining,
    load,
  });
  const gateway = createGateway({
    handler,
    door,
    listener: listenerTraits(listen.gateway, clients),
    names: new Set(listen.names),
  });
  return { servers: { proxy, gateway }, door, load };
};

/** One that only this machine reaches takes whoever comes; any other only the file's clients (ruling 19). */
export const listenerTraits = (
  address: ListenAddress | undefined,
  clients: SidecarConfig["listen"]["clients"],
): ListenerTraits => ({
  kind: address?.kind ?? "tcp",
  clients: address === undefined || isLocalListener(address) ? undefined : clients,
});
