/**
 * Opens the ports and sockets of the file, and knows which they are: an upstream that is one of our own listeners would
 * be a loop, or a way for an agent to reach what is not meant for it (threats B7, F4).
 */
import type { AddressInfo, Server } from "node:net";
import { networkInterfaces } from "node:os";
import type { ListenAddress } from "../../config/addresses.ts";
import { formatBound, listen } from "../../config/listen.ts";
import { type IpBytes, isLoopback, parsePeer } from "../../core/ip.ts";

export interface OwnListeners {
  add(bound: AddressInfo): void;
  /** Whether a connection to this address and port would end here. */
  has(address: string, port: number): boolean;
}

/** `interfaces`: the addresses of this machine, asked when they matter because they change. */
export const createOwnListeners = (interfaces: () => readonly string[] = machineAddresses): OwnListeners => {
  const byPort = new Map<number, IpBytes[]>();
  return {
    add({ address, port }) {
      const bytes = parsePeer(address);
      if (bytes === undefined) throw new TypeError("a listener without an address");
      byPort.set(port, [...(byPort.get(port) ?? []), bytes]);
    },
    has(address, port) {
      const bound = byPort.get(port);
      const target = bound === undefined ? undefined : parsePeer(address);
      if (bound === undefined || target === undefined) return false;
      // The system connects to itself for 0.0.0.0 and ::, whichever of its addresses listens.
      if (isUnspecified(target)) return true;
      if (bound.some((bytes) => isSame(bytes, target))) return true;
      return bound.some(isUnspecified) && isThisMachine(target, interfaces());
    },
  };
};

const machineAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));

const isUnspecified = (bytes: IpBytes): boolean => bytes.every((byte) => byte === 0);

const isSame = (a: IpBytes, b: IpBytes): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index]);

const isThisMachine = (target: IpBytes, addresses: readonly string[]): boolean =>
  isLoopback(target) ||
  addresses.some((address) => {
    const bytes = parsePeer(address);
    return bytes !== undefined && isSame(bytes, target);
  });

/**
 * Listens, and resolves with the address as the ready line shows it: `HOST:PORT` or `unix:PATH`. `key` is the key of the
 * file, for messages. Errors: CONFIG_INVALID.
 */
export const openListener = async (
  server: Server,
  address: ListenAddress,
  key: string,
  own: OwnListeners,
): Promise<string> => {
  const bound = await listen(server, address, key);
  if (typeof bound !== "string") own.add(bound);
  return formatBound(bound);
};
