/** A session on tokens that it asks for itself, for exactly what the routes name: as many as it takes to hold the scopes. */
import { isSidekeyError, SidekeyError } from "../../../core/errors.ts";
import type { RouteUse } from "../source.ts";
import { toLinkFault, type VaultLink } from "./link.ts";
import { briefLife, createMintedLease, type MintedLease, TOKEN_TTL_MS } from "./minted-lease.ts";
import { createVaultSession, type OpenLease, type SessionParts, type VaultSession } from "./session.ts";

/** Of scopes in one token, well below what a token may weigh. */
const BATCH_CHARACTERS = 4096;
/** What a vault takes in one request. */
const BATCH_PATHS = 64;
const SCOPE_PREFIX = "secrets:use:".length + 1;
const PATH = /^(?:(?!\.{1,2}(?:\/|$))[A-Za-z0-9._*-]{1,128}(?:\/|$))+$/;
const MAX_PATH = 1024;
/** Refused paths that are looked for one by one, so that the message can name them. */
const MAX_PROBES = 32;
const PROBE_TTL_MS = 60_000;

/**
 * With its first tokens, or waiting for them. `strict`: waiting is an error. Errors: IDENTITY_SCOPE_DENIED, which names
 * route and path; SOURCE_FORBIDDEN; strict: SOURCE_UNAVAILABLE.
 */
export const openMintedSession = async (
  parts: SessionParts,
  uses: readonly RouteUse[],
  strict: boolean,
): Promise<VaultSession> => {
  const batches = batchesOf(uses);
  const batchOf = new Map(batches.flatMap((batch, index) => batch.map((path) => [path, index] as const)));
  const minted: MintedLease[] = [];
  const longestStale = Math.max(0, ...uses.map(({ staleMs = 0 }) => staleMs));
  const life = parts.isBrief === true ? briefLife(longestStale) : { ttlMs: TOKEN_TTL_MS };
  const leases = batches.map(
    (batch): OpenLease =>
      (leaseParts) => {
        const lease = createMintedLease({
          ...leaseParts,
          paths: batch.filter((path) => !isName(path)),
          names: batch.filter(isName),
          life,
        });
        minted.push(lease);
        return lease;
      },
  );
  const session = createVaultSession(parts, { uses, leaseOf: (path) => batchOf.get(path), leases });
  try {
    for (const [index, lease] of minted.entries()) {
      await lease.begin(strict).catch(async (error: unknown) => {
        if (!isSidekeyError(error) || error.code !== "IDENTITY_SCOPE_DENIED") throw error;
        throw await deniedError(error, batches[index] ?? [], uses, parts);
      });
    }
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
};

/**
 * Each path once; what is no path is in no vault, and is refused when it is used. Patterns first: what the placeholders of
 * agents stand for is asked for with the first token.
 */
const batchesOf = (uses: readonly RouteUse[]): readonly (readonly string[])[] => {
  const batches: string[][] = [];
  let size = BATCH_CHARACTERS;
  const paths = [...new Set(uses.map((use) => use.path))];
  for (const path of [...paths.filter(isPattern), ...paths.filter((one) => !isPattern(one))]) {
    if (path.length > MAX_PATH || path.endsWith("/") || !PATH.test(path)) continue;
    const isFull = (batches.at(-1)?.length ?? 0) >= BATCH_PATHS;
    if (isFull || size + SCOPE_PREFIX + path.length > BATCH_CHARACTERS) {
      batches.push([]);
      size = 0;
    }
    batches.at(-1)?.push(path);
    size += SCOPE_PREFIX + path.length;
  }
  return batches;
};

/** One segment, which the vault looks for from the agent's place outwards. */
const isName = (path: string): boolean => !path.includes("/") && !isPattern(path);
const isPattern = (path: string): boolean => path.includes("*");

const deniedError = async (
  error: SidekeyError,
  batch: readonly string[],
  uses: readonly RouteUse[],
  { link, source }: SessionParts,
): Promise<SidekeyError> => {
  const denied = batch.length === 1 ? batch : await findDenied(batch, link);
  return new SidekeyError("IDENTITY_SCOPE_DENIED", {
    detail: `source ${source}: ${routesOf(denied, uses)}. ${link.address} says: ${error.detail ?? error.publicMessage}`,
    hint: `Give the agent more, or the route another secret: its allowed scopes must hold secrets:use:${denied[0] ?? "PATH"}.`,
  });
};

/** `routes.openai needs production/openai/api-key, which …` for each. */
export const routesOf = (paths: readonly string[], uses: readonly RouteUse[]): string =>
  paths
    .map((path) => {
      const routes = uses.filter((use) => use.path === path).map(({ route }) => `routes.${route}`);
      return `${routes.join(", ")} ${routes.length > 1 ? "need" : "needs"} ${path}, which the token does not cover`;
    })
    .join("; ");

/** Each asked for alone, so that the person reads which it is. Never none. */
const findDenied = async (batch: readonly string[], link: VaultLink): Promise<readonly string[]> => {
  const denied: string[] = [];
  for (const path of batch.slice(0, MAX_PROBES)) if (await isDenied(path, link)) denied.push(path);
  return denied.length === 0 ? batch : denied;
};

const isDenied = async (path: string, link: VaultLink): Promise<boolean> => {
  try {
    const answer = await link.requestToken({
      scopes: isName(path) ? [] : [`secrets:use:${path}`],
      names: isName(path) ? [path] : [],
      ttlMs: PROBE_TTL_MS,
      reason: "which of the routes' secrets are out of scope",
    });
    if ("token" in answer) await link.revoke(answer.token);
    return false;
  } catch (thrown) {
    return toLinkFault(thrown).kind === "denied";
  }
};
