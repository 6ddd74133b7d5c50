/**
 * Places that no agent may reach through us, by name or by address: the vaults that this sidecar has its secrets from
 * (guarantees.md, B7). A name is looked up again now and then; must never let one through because that takes a moment.
 */
import { isIP } from "node:net";
import type { Authority } from "../../core/authority.ts";
import { isLoopback, parsePeer } from "../../core/ip.ts";
import type { Resolver } from "./lookup.ts";

export interface ClosedPlaces {
  /** As the agent writes it. */
  names(authority: Authority): boolean;
  /** Where a connection would lead to. */
  holds(address: string, port: number): boolean;
}

interface Place {
  readonly authority: Authority;
  /** Canonical; `loopback` for all of them. Undefined: not known yet. */
  addresses: ReadonlySet<string> | undefined;
  /** Monotonic, `ms`. */
  askedAt: number;
}

/** `ms` */
const ASK_EVERY_MS = 30_000;
const LOOPBACK = "loopback";

export const createClosedPlaces = (
  authorities: readonly Authority[],
  resolve: Resolver,
  monotonic: () => number,
): ClosedPlaces => {
  const keys = new Set(authorities.map(({ key }) => key));

  const ask = (place: Place): void => {
    place.askedAt = monotonic();
    resolve(place.authority.host.name, { all: true, order: "verbatim" }, (error, found) => {
      // What cannot be found by its name is where it was; at first, nowhere.
      if (error === null) place.addresses = new Set(found.map(({ address }) => canonical(address)));
      else place.addresses ??= new Set();
    });
  };

  const places = authorities.map((authority): Place => {
    const { name } = authority.host;
    const known = name === "localhost" ? LOOPBACK : isIP(name) === 0 ? undefined : canonical(name);
    const place = { authority, addresses: known === undefined ? undefined : new Set([known]), askedAt: 0 };
    if (known === undefined) ask(place);
    return place;
  });

  return {
    names: ({ key }) => keys.has(key),
    holds(address, port) {
      for (const place of places) {
        if (place.authority.port !== port) continue;
        const { host } = place.authority;
        if (host.kind === "name" && host.name !== "localhost" && monotonic() - place.askedAt >= ASK_EVERY_MS)
          ask(place);
        if (place.addresses?.has(canonical(address)) !== false) return true;
      }
      return false;
    },
  };
};

/** A vault that listens on one address of this machine's own may listen on all of them. */
const canonical = (address: string): string => {
  const bytes = parsePeer(address);
  if (bytes === undefined) return address;
  return isLoopback(bytes) ? LOOPBACK : bytes.join(".");
};
