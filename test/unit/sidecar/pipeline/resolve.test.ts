/** The last look at secrets before they are used, on every request: whether they may go to this host, and be used at all. */
import { describe, expect, it } from "vitest";
import { parseAuthority } from "../../../../src/core/authority.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import type { Resolved, Routed } from "../../../../src/sidecar/pipeline/messages.ts";
import { createRenew, createResolve } from "../../../../src/sidecar/pipeline/stages/resolve.ts";
import { createBundles } from "../../../../src/sidecar/secrets/bundle.ts";
import type { SecretMaterial, SecretRef, SecretSource } from "../../../../src/sidecar/secrets/source.ts";

const REFS = ["one", "two"].map((path) => ({ source: "local", path, text: `local:${path}` }) as unknown as SecretRef);
const CONTEXT = { id: "1", startedAt: 0 };

const routed = {
  identified: { request: { authority: parseAuthority("api.test:443") }, agent: "a" },
  route: { name: "api", secrets: REFS, bundles: createBundles(REFS) },
} as unknown as Routed;

const material = (hosts: readonly string[]): SecretMaterial => ({ value: SecretValue.fromText("canary-value"), hosts });

const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
    return "none";
  } catch (error) {
    return error instanceof SidekeyError ? error.code : String(error);
  }
};

describe("a secret that is bound to other hosts", () => {
  it.each([
    ["the first of two", ["other.test"], []],
    ["the second of two", [], ["other.test"]],
    ["both", ["other.test"], ["other.test"]],
  ])("is refused, %s, out of the cache as well", async (_which, first, second) => {
    const materials = new Map(REFS.map((ref, i) => [ref, material(i === 0 ? first : second)]));
    const resolver = { resolve: (ref: SecretRef) => materials.get(ref) as SecretMaterial };
    const resolve = createResolve(new Map(), resolver, systemClock);
    expect(await codeOf(() => resolve(routed, CONTEXT))).toBe("POLICY_SECRET_HOST");
  });

  it("goes to the one that it is bound to", async () => {
    const resolver = { resolve: () => material(["api.test"]) };
    const resolve = createResolve(new Map(), resolver, systemClock);
    expect(await codeOf(() => resolve(routed, CONTEXT))).toBe("none");
  });
});

describe("a source whose token has ended", () => {
  const source = {
    name: "local",
    authorize() {
      throw new SidekeyError("IDENTITY_TOKEN_EXPIRED");
    },
  } as unknown as SecretSource;
  const sources = new Map([["local", source]]);

  it("gives no cached secret", async () => {
    const asked: string[] = [];
    const resolver = {
      resolve: (ref: SecretRef) => {
        asked.push(ref.path);
        return material([]);
      },
    };
    expect(await codeOf(() => createResolve(sources, resolver, systemClock)(routed, CONTEXT))).toBe(
      "IDENTITY_TOKEN_EXPIRED",
    );
    expect(asked).toEqual([]);
  });

  it("gives none for a second attempt either, and is not asked", async () => {
    const asked: string[] = [];
    const resolver = {
      renew: async (ref: SecretRef) => {
        asked.push(ref.path);
        return material([]);
      },
    };
    const sent = { routed, secrets: createBundles(REFS).all([material([]), material([])]) } as unknown as Resolved;
    expect(await codeOf(() => createRenew(sources, resolver, systemClock)(sent, CONTEXT))).toBe(
      "IDENTITY_TOKEN_EXPIRED",
    );
    expect(asked).toEqual([]);
  });
});
