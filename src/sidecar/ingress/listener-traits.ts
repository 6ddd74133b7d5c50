/** What a way in must know about the listener it serves, and about who is at the other end of its connections. */
import type { Socket } from "node:net";
import { type Cidr, isLoopback, parsePeer } from "../../core/ip.ts";

export interface ListenerTraits {
  readonly kind: "tcp" | "unix";
  /** Who may connect; undefined = whoever reaches it, because only this machine can. */
  readonly clients: readonly Cidr[] | undefined;
}

/** No network lies between the client and us. */
export const isLocalPeer = ({ remoteAddress }: Socket, { kind }: ListenerTraits): boolean => {
  if (kind === "unix") return true;
  // A peer that is gone already has no address.
  const bytes = remoteAddress === undefined ? undefined : parsePeer(remoteAddress);
  return bytes !== undefined && isLoopback(bytes);
};
