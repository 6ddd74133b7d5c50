/** A vault that the command line names beside the file (`run --vault`). */
import { describe, expect, it } from "vitest";
import { isSidekeyError } from "../../../../../src/core/errors.ts";
import { loadConfig, type NamedVault } from "../../../../../src/sidecar/app/config/config.ts";

const VAULT = { address: "https://vault.test:7200", agentKey: "ASS_AGENT_KEY" };

const load = (text: string, vault: NamedVault = VAULT) =>
  loadConfig({ file: "/srv/sidekey.yaml", text: `version: 1\n${text}`, vault });

const accepted = (text: string) => {
  const loaded = load(text);
  if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
  const { sources, routes } = loaded.config;
  return {
    sources: sources.map(({ name, kind }) => [name, kind]),
    refs: routes.map(({ injections }) => injections[0]?.ref.text),
    first: sources[0]?.fields,
  };
};

describe("a vault beside the file", () => {
  it("is the only source of a file that names none", () => {
    const { sources, refs, first } = accepted("routes: { a.test: production/x/key, b.test: tavily-key }");
    expect(sources).toEqual([["vault", "sidekey"]]);
    expect(refs).toEqual(["vault:production/x/key", "vault:tavily-key"]);
    expect(first).toEqual({
      kind: "sidekey",
      address: "https://vault.test:7200",
      agent_key: { env: "ASS_AGENT_KEY" },
    });
  });

  it("is shown the certificate that the command line names", () => {
    const certificate = { cert: "/work/client.pem", key: "/work/client.key" };
    const loaded = load("routes: { a.test: a/b }", { ...VAULT, certificate });
    if ("problems" in loaded) throw new Error(JSON.stringify(loaded.problems));
    expect(loaded.config.sources[0]?.fields).toMatchObject({ cert: certificate.cert, cert_key: certificate.key });
  });

  it("comes before the file's sources, which stay what they are", () => {
    const { sources, refs } = accepted("sources: { own: { kind: env } }\nroutes: { a.test: a/b, b.test: 'own:KEY' }");
    expect(sources).toEqual([
      ["vault", "sidekey"],
      ["own", "env"],
    ]);
    expect(refs).toEqual(["vault:a/b", "own:KEY"]);
  });

  it("takes the place of the file's own vault", () => {
    const { sources, first } = accepted(
      "sources: { own: { kind: env }, vault: { kind: sidekey, address: https://other.test, token: { env: T } } }\nroutes: { a.test: vault:a/b }",
    );
    expect(sources).toEqual([
      ["vault", "sidekey"],
      ["own", "env"],
    ]);
    expect(first).toMatchObject({ address: "https://vault.test:7200" });
  });

  it("does not take the name of a source of another kind", () => {
    const loaded = load("sources: { vault: { kind: env } }\nroutes: { a.test: a/b }");
    expect("problems" in loaded && loaded.problems.map(({ path }) => path)).toEqual(["sources.vault"]);
  });

  it.each(["vault.test", "http://vault.test", "https://vault.test/v1", ""])(
    "is refused where it is none: %s",
    (address) => {
      let code: string | undefined;
      try {
        load("routes: {}", { ...VAULT, address });
      } catch (error) {
        code = isSidekeyError(error) ? error.code : String(error);
      }
      expect(code).toBe("CONFIG_USAGE");
    },
  );
});
