/**
 * What the ways in ask of the file, as one immutable object: a reload puts another one in its place by one assignment.
 * Whoever serves a request takes it once and keeps it to the request's end.
 */
import type { Authority, Host } from "../../core/authority.ts";
import type { Line } from "../pipeline/line.ts";
import type { BlindTunnel } from "./blind-tunnel.ts";

/** Where a route's base URL leads. */
export interface GatewayOrigin {
  readonly scheme: "http" | "https";
  readonly authority: Authority;
}

/** By the route's name; routes without an origin have no base URL. */
export type GatewayOrigins = ReadonlyMap<string, GatewayOrigin>;

export interface Generation {
  /** 1 at the start, one more with each reload. */
  readonly number: number;
  readonly line: Line;
  /** Some route names this host and port: its traffic is read. */
  readonly namesAuthority: (authority: Authority) => boolean;
  /** Some route names this host on some port: its traffic never passes unread. */
  readonly namesHost: (host: Host) => boolean;
  /** Passes bytes to a host that no route names; undefined = denied. */
  readonly tunnel: BlindTunnel | undefined;
  readonly origins: GatewayOrigins;
  /** Open connections and CONNECT tunnels, requests in flight; past them OVERLOADED. */
  readonly limits: { readonly connections: number; readonly tunnels: number; readonly streams: number };
}

/** The one that a new request gets. */
export type CurrentGeneration = () => Generation;
