/**
 * Secrets of the embedded vault, reached through a scoped token like those of any other vault: one that the file names,
 * or one that this source issues to itself for exactly the paths of the routes. Must never hand out a value because the
 * process could read the store anyway.
 */
import { resolve } from "node:path";
import * as z from "zod";
import { credentialSchema, readCredential } from "../../../config/credential.ts";
import type { Closable } from "../../../core/closer.ts";
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import type { Kind } from "../../../core/kind.ts";
import { isSecretPath, openVault, type Vault, vaultKeySource } from "../../../vault/index.ts";
import { createMintedPermit, createTokenPermit, type Permit, type TokenStore } from "../permit.ts";
import {
  MAX_REPLACED,
  type PermitChange,
  REPLACED_MS,
  type Repermitted,
  type ReplacedValue,
  type Scoped,
  type SecretMaterial,
  type SecretRef,
  type SecretSource,
  type SourceDeps,
  type Versioned,
} from "../source.ts";
import { checkedSecret } from "../value-check.ts";

const fields = z.strictObject({
  kind: z.literal("local"),
  path: z.string().min(1).optional().describe("Directory of the store. Default: <state>/vault."),
  key: credentialSchema
    .optional()
    .describe("Key of the store. Default: FERNET_SECRET_KEY when set, else <state>/vault.key."),
  token: credentialSchema.optional().describe("Scoped token; without one the source issues its own."),
});

export type LocalSource = SecretSource & Scoped & Versioned & Repermitted & Closable;

/** Errors of `create`: CONFIG_INVALID (token absent), IDENTITY_TOKEN_INVALID, VAULT_*. */
export const local: Kind<"local", typeof fields, SourceDeps, Promise<LocalSource>> = {
  kind: "local",
  fields,
  summary: "The embedded vault of this machine, encrypted at rest.",
  async create({ path, key, token }, deps) {
    const { baseDir, stateDir, clock, environment } = deps;
    const vault = await openVault({
      directory: path === undefined ? resolve(stateDir, "vault") : resolve(baseDir, path),
      keys: vaultKeySource({ credential: key, baseDir, stateDir, environment }),
      clock,
    });
    try {
      const readToken = () => (token === undefined ? undefined : readCredential(token, { baseDir, environment }));
      return await createLocalSource(vault, readToken, deps);
    } catch (error) {
      await vault.close();
      throw error;
    }
  },
};

const createPermit = async (vault: Vault, token: string | undefined, deps: SourceDeps): Promise<Permit> => {
  const { name: source, agent, clock, log } = deps;
  const store: TokenStore = { ...vault.tokens, generation: () => vault.generation() };
  if (token !== undefined) return createTokenPermit(await vault.tokens.inspect(token), store, clock);
  // What is no path is in no store: such a reference is refused when it is used.
  const paths = deps.paths.filter(isSecretPath);
  return createMintedPermit({ source, agent, paths, store, clock, log });
};

const createLocalSource = async (
  vault: Vault,
  readToken: () => string | undefined,
  deps: SourceDeps,
): Promise<LocalSource> => {
  let token = readToken();
  let paths = deps.paths;
  let permit = await createPermit(vault, token, deps);
  /** Permits that were replaced, on their way out. */
  let leaving = Promise.resolve();

  const shutDown = async (): Promise<void> => {
    await permit.close();
    await leaving;
    await vault.close();
  };
  let closing: Promise<void> | undefined;

  /** Versions before `current` that were replaced lately: the store knows them also after a restart. */
  const lately = async (path: string, current: number): Promise<readonly ReplacedValue[]> => {
    const since = deps.clock.now() - REPLACED_MS;
    return (await vault.secrets.replacedSince(path, current, since)).slice(0, MAX_REPLACED);
  };

  return {
    name: deps.name,
    authorize(ref) {
      try {
        permit.authorize(ref);
      } catch (error) {
        throw sourceError(error, ref);
      }
    },
    generation() {
      try {
        return vault.generation();
      } catch (error) {
        throw sourceError(error);
      }
    },
    async fetch(ref): Promise<SecretMaterial> {
      try {
        const { value, version, hosts, readableUntil } = await vault.secrets.get(ref.path, versionOf(ref));
        return {
          value: value.lend((bytes) => checkedSecret(bytes, ref)),
          version: String(version),
          ...(hosts.length > 0 && { hosts }),
          ...(readableUntil !== undefined && { notAfter: readableUntil }),
          replaced: ref.version === undefined ? await lately(ref.path, version) : [],
        };
      } catch (error) {
        throw sourceError(error, ref);
      }
    },
    async repermit(wanted): Promise<PermitChange | undefined> {
      const text = readToken();
      // A token that the file names covers what it covers, whatever the routes are.
      if (text === undefined ? isSame(paths, wanted) : text === token) return undefined;
      // What an operator revoked is not issued again because a route came or went.
      if (text === undefined && permit.isRevoked()) return undefined;
      const next = await createPermit(vault, text, { ...deps, paths: wanted });
      return {
        commit() {
          const old = permit;
          permit = next;
          paths = wanted;
          token = text;
          leaving = leaving.then(() => old.close());
        },
        cancel: async () => next.close(),
      };
    },
    close() {
      closing ??= shutDown();
      return closing;
    },
  };
};

const isSame = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((path) => others.includes(path));

/** Versions are counted from 1; any other word names none. */
const versionOf = (ref: SecretRef): number | undefined => {
  if (ref.version === undefined) return undefined;
  if (!/^[1-9][0-9]{0,8}$/.test(ref.version)) throw missing(ref);
  return Number(ref.version);
};

/** Not to be bridged with what was known before, as an outage is. */
const GONE: ReadonlySet<string> = new Set(["VAULT_SECRET_MISSING", "VAULT_SECRET_EXPIRED", "VAULT_BAD_PATH"]);

/** The vault's errors are for its operator; a route knows missing, and everything else is an outage. */
const sourceError = (error: unknown, ref?: SecretRef): unknown => {
  if (!isSidekeyError(error) || !error.code.startsWith("VAULT_")) return error;
  if (ref !== undefined && GONE.has(error.code)) return missing(ref);
  return new SidekeyError("SOURCE_UNAVAILABLE", { detail: `The vault failed (${error.code}).`, cause: error });
};

const missing = (ref: SecretRef): SidekeyError =>
  new SidekeyError("SOURCE_SECRET_MISSING", {
    detail: ref.text,
    hint: `Store it: printf %s "$KEY" | sidekey secret set ${ref.path}`,
  });
