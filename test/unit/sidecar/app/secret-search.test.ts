import { describe, expect, it } from "vitest";
import { SidekeyError } from "../../../../src/core/errors.ts";
import { SecretValue } from "../../../../src/core/secret-value.ts";
import { loadConfig } from "../../../../src/sidecar/app/config/config.ts";
import { createSecretSearch } from "../../../../src/sidecar/app/secret-search.ts";
import type { SecretResolver } from "../../../../src/sidecar/secrets/resolver.ts";

const searchFor = (secret: string, down = false) => {
  const text = "version: 1\nroutes:\n  a.test: gone/key\n  b.test: production/key\n  c.test: down/key\n";
  const loaded = loadConfig({ file: "/nowhere/sidekey.yaml", text });
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const resolver: Pick<SecretResolver, "resolve"> = {
    resolve(ref) {
      if (ref.path === "gone/key" || (ref.path === "down/key" && !down))
        throw new SidekeyError("SOURCE_SECRET_MISSING");
      if (ref.path === "down/key") return Promise.reject(new SidekeyError("SOURCE_UNAVAILABLE"));
      return { value: SecretValue.fromText(secret) };
    },
  };
  return createSecretSearch(loaded.config, resolver);
};

describe("the search for secrets in a text", () => {
  it("says which secrets it could not look for, and looks for the others", async () => {
    expect(await searchFor("s3cret-8").unknown()).toEqual([]);
    const search = searchFor("s3cret-8", true);
    expect(await search.unknown()).toEqual([{ secret: "local:down/key", code: "SOURCE_UNAVAILABLE" }]);
    expect(await search.contains("x s3cret-8")).toBe(true);
    expect(await search.contains("x")).toBe(false);
  });

  it("finds a secret of 8 bytes or more anywhere", async () => {
    const search = searchFor("s3cret-8");
    expect(await search.contains("https://user:s3cret-8@host/")).toBe(true);
    expect(await search.contains("s3cret-7")).toBe(false);
  });

  it("finds a shorter one only where it is the whole line", async () => {
    const search = searchFor("bin");
    expect(await search.contains("/usr/bin:/bin")).toBe(false);
    expect(await search.contains("bin")).toBe(true);
    expect(await search.contains("/usr/bin:/bin\nbin\nother")).toBe(true);
  });

  it("counts bytes, not letters", async () => {
    expect(await searchFor("ü€ü€").contains("x ü€ü€ x")).toBe(true);
    expect(await searchFor("üüü").contains("x üüü x")).toBe(false);
  });
});
