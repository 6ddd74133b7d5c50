/** What is settled for a whole connection of an agent: how its requests name their target. */
import type { Authority } from "../../core/authority.ts";
import type { HeaderList } from "../../core/headers.ts";
import type { Framing } from "./framing.ts";
import type { GatewayOrigins } from "./generation.ts";
import type { RequestHead } from "./request-parser.ts";
import type { Target } from "./target.ts";

export type ConnectionKind =
  /** Absolute targets, each with an authority of its own. `isLocal`: nothing but this machine is between us and the client. */
  | { readonly way: "forward"; readonly isLocal: boolean }
  /** Origin targets that begin with a route's name. */
  | { readonly way: "gateway"; readonly target: GatewayReader }
  /** Inside CONNECT: origin targets under one authority. */
  | { readonly way: "tunnel"; readonly scheme: "http" | "https"; readonly authority: Authority };

/** The target behind a route's name. */
export interface GatewayTarget extends Target {
  /** The route that the agent named; policy must choose the same. */
  readonly route: string;
}

/** Throws INGRESS_BAD_REQUEST, INGRESS_AUTHORITY_MISMATCH, INGRESS_BROWSER or POLICY_NO_ROUTE. */
export type GatewayReader = (
  request: Pick<RequestHead, "target"> & { readonly headers: HeaderList },
  framing: Framing,
  origins: GatewayOrigins,
) => GatewayTarget;
