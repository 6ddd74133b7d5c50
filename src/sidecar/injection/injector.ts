/**
 * What an injection kind is: pure and offline. It describes a change; `apply.ts` alone edits what goes out.
 */
import { SidekeyError } from "../../core/errors.ts";
import type { SecretValue } from "../../core/secret-value.ts";

/** What an injector may look at. */
export interface OutboundTarget {
  readonly method: string;
  /** Canonical path. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
}

/** One header to set; every other spelling of its name is removed by `apply`. */
export interface RequestPatch {
  /** As sent. */
  readonly name: string;
  /** One JavaScript char per byte (latin1). */
  readonly value: string;
}

export interface Injector {
  readonly kind: string;
  /** Folded names (`foldHeaderName`) of the headers that are ours on this route: the agent's own are removed. */
  readonly owns: readonly string[];
  plan(target: OutboundTarget, secret: SecretValue): RequestPatch;
  /** Byte strings made from the secret that go over the wire and so must not come back either. */
  derived(secret: SecretValue): readonly Buffer[];
}

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
