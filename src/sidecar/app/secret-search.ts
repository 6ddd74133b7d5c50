/** Looks for the values of the routes' secrets in a text. Must never say which one it found, or where. */
import { type ErrorCode, toSidekeyError } from "../../core/errors.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import type { SecretResolver } from "../secrets/resolver.ts";
import type { SidecarConfig } from "./config/config.ts";

/**
 * A shorter value is in many texts by chance: "bin" as a key would take PATH from the program. Such a value counts only
 * where it is the whole line, which finds the variable that it was kept in. `bytes`
 */
const SHORTEST_PART = 8;

/** A secret that exists, or may exist, and whose value could not be had: no text can be searched for it. */
export interface UnknownSecret {
  /** Canonical reference text. */
  readonly secret: string;
  readonly code: ErrorCode;
}

export interface SecretSearch {
  contains(text: string): Promise<boolean>;
  unknown(): Promise<readonly UnknownSecret[]>;
}

export const createSecretSearch = (
  { routes, agent }: SidecarConfig,
  resolver: Pick<SecretResolver, "resolve">,
): SecretSearch => {
  const references = new Map(routes.flatMap(({ injections }) => injections).map(({ ref }) => [ref.text, ref]));

  /** All at once: each source that is down costs its timeout. */
  const look = (): Promise<readonly (SecretValue | UnknownSecret | undefined)[]> =>
    Promise.all(
      [...references].map(async ([secret, ref]) => {
        try {
          const { value } = await resolver.resolve(ref, agent, { maxAgeMs: 60_000, staleWhileErrorMs: 0 });
          return value;
        } catch (error) {
          const { code } = toSidekeyError(error);
          // What is not there is in no text either.
          return code === "SOURCE_SECRET_MISSING" ? undefined : { secret, code };
        }
      }),
    );

  return {
    contains: async (text) =>
      (await look()).some(
        (found) => found !== undefined && "lend" in found && found.lend((bytes) => isIn(text, bytes)),
      ),
    unknown: async () => (await look()).flatMap((found) => (found !== undefined && "code" in found ? [found] : [])),
  };
};

const isIn = (text: string, secret: Buffer): boolean => {
  const value = secret.toString("utf8");
  return secret.length >= SHORTEST_PART ? text.includes(value) : text.split("\n").includes(value);
};
