/**
 * What an injection kind is: pure and offline. It describes a change; `apply.ts` alone edits what goes out.
 */
import { SidekeyError } from "../../core/errors.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import type { Place } from "./place.ts";

/** What an injector may look at. */
export interface OutboundTarget {
  readonly method: string;
  /** Canonical path. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
}

export type RequestPatch = HeaderPatch | QueryPatch | PathPatch | CookiePatch;

/** One header to set; every other spelling of its name has been removed by then. */
export interface HeaderPatch {
  readonly to: "header";
  /** As sent. */
  readonly name: string;
  /** One JavaScript char per byte (latin1). */
  readonly value: string;
}

/** One parameter to set, in place of every spelling of it. */
export interface QueryPatch {
  readonly to: "query";
  /** Folded (`foldParameterName`). */
  readonly name: string;
  /** `name=value`, encoded. */
  readonly parameter: string;
}

/** Put before the canonical path. */
export interface PathPatch {
  readonly to: "path";
  /** Canonical, encoded, without a slash at its end. */
  readonly prefix: string;
}

/** One cookie to set, in place of every spelling of it. */
export interface CookiePatch {
  readonly to: "cookie";
  /** Folded (`foldParameterName`). */
  readonly name: string;
  /** `name=value` */
  readonly pair: string;
}

interface AnyInjector {
  readonly kind: string;
  /** Where it writes. */
  readonly places: readonly Place[];
  /** Byte strings made from the secret that go over the wire and so must not come back either. */
  derived(secret: SecretValue): readonly Buffer[];
}

/** Sets its place in every request. What the agent has there is removed, in every spelling (`isRemovable`). */
export interface SetInjector extends AnyInjector {
  plan(target: OutboundTarget, secret: SecretValue): RequestPatch;
}

/** Swaps a placeholder, in requests that have it in one of the places. All else of the agent's stays. */
export interface SwapInjector extends AnyInjector {
  readonly placeholder: string;
}

/** Swaps what a vault has issued: which secret that is shows in the request alone. Its route is compiled anew for each. */
export interface IssuedInjector extends AnyInjector {
  readonly isIssued: true;
}

export type Injector = SetInjector | SwapInjector | IssuedInjector;

export const isSwap = (injector: Injector): injector is SwapInjector => "placeholder" in injector;

export const isIssued = (injector: Injector): injector is IssuedInjector => "isIssued" in injector;

/** One of a route's injections. */
export interface Injection<Kind extends Injector = Injector> {
  readonly injector: Kind;
  /** Which of the route's secrets it sends. */
  readonly secret: number;
}

/** What goes over the wire for the secret of this number: itself, and whatever the route's injections make of it. */
export const onTheWire = (injections: readonly Injection[], secret: number, value: SecretValue): readonly Buffer[] => [
  value.lend((bytes) => Buffer.from(bytes)),
  ...injections.flatMap((one) => (one.secret === secret ? one.injector.derived(value) : [])),
];

/**
 * One char per byte, so that any byte a secret may hold reaches the wire as it is. A space at an end would not: readers
 * of a header drop it (RFC 9110 section 5.5). Errors: SOURCE_BAD_VALUE.
 */
export const wireText = (secret: SecretValue): string => {
  const text = secret.lend((bytes) => bytes.toString("latin1"));
  if (text.startsWith(" ") || text.endsWith(" ")) {
    throw new SidekeyError("SOURCE_BAD_VALUE", {
      detail: "A space at an end of the secret would be lost in a header.",
    });
  }
  return text;
};
