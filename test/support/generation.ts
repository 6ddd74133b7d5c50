/** A generation for tests of the ways in: names nothing, denies everything, limits hardly anything. */
import type { Generation } from "../../src/sidecar/ingress/generation.ts";

export const aGeneration = (parts: Partial<Generation> = {}): Generation => ({
  number: 1,
  line: () => Promise.reject(new Error("no line")),
  namesAuthority: () => false,
  namesHost: () => false,
  tunnel: undefined,
  origins: new Map(),
  limits: { connections: 100, tunnels: 100, streams: 100 },
  ...parts,
});
