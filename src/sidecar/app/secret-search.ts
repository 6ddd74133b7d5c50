/** Looks for the values of the routes' secrets in a text. Must never say which one it found, or where. */
import type { SecretResolver } from "../secrets/resolver.ts";
import type { SidecarConfig } from "./config.ts";

/**
 * A shorter value is in many texts by chance: "bin" as a key would take PATH from the program. Such a value counts only
 * where it is the whole line, which finds the variable that it was kept in. `bytes`
 */
const SHORTEST_PART = 8;

export const createSecretSearch =
  ({ routes, agent }: SidecarConfig, resolver: Pick<SecretResolver, "resolve">) =>
  async (text: string): Promise<boolean> => {
    for (const { injections } of routes) {
      for (const { ref } of injections) {
        // A secret that is not there is in no text either.
        const material = await Promise.resolve()
          .then(() => resolver.resolve(ref, agent, { maxAgeMs: 60_000, staleWhileErrorMs: 0 }))
          .catch(() => undefined);
        if (material?.value.lend((bytes) => isIn(text, bytes)) === true) return true;
      }
    }
    return false;
  };

const isIn = (text: string, secret: Buffer): boolean => {
  const value = secret.toString("utf8");
  return secret.length >= SHORTEST_PART ? text.includes(value) : text.split("\n").includes(value);
};
