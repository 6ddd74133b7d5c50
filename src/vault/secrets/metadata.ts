/**
 * The metadata of a secret as they stand in its row, and what may be said about one. Must never hold a value. Rows of
 * Sidekey 0.1 have `versions`, `type`, `tier` and `hosts` alone; what came later is written only where it says something,
 * so that such rows stay readable for it.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { parseHost } from "../../core/authority.ts";
import type { EpochMs } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { type Barrier, recallJson } from "../barrier/barrier.ts";
import { META } from "../barrier/rows.ts";
import {
  type DescribeOptions,
  type JsonObject,
  REFERENCE_BACKENDS,
  SECRET_CATEGORIES,
  SECRET_TIERS,
  type SecretInfo,
  type SecretReference,
  type SecretTier,
} from "./types.ts";

const WORD = /^[A-Za-z0-9._-]{1,64}$/;
const BY = /^[ -~]{1,64}$/;
const REF = /^[!-~]{1,2048}$/;
const MAX_HOSTS = 64;
/** As JSON. `bytes` */
const MAX_METADATA_BYTES = 8 * 1024;
const MAX_METADATA_DEPTH = 8;

const referenceSchema = z.strictObject({ backend: z.enum(REFERENCE_BACKENDS), ref: z.string() });

const versionSchema = z.strictObject({
  version: z.number().int().positive(),
  createdAt: z.number(),
  by: z.string().optional(),
  readableUntil: z.number().optional(),
  expiresAt: z.number().optional(),
  reference: referenceSchema.optional(),
  restored: z.number().int().positive().optional(),
  /** Whether its end is on record: who is about to tell of it since when, or that it is done. */
  expiry: z.union([z.literal("told"), z.number()]).optional(),
});
export type MetaVersion = z.output<typeof versionSchema>;

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const metaSchema = z.strictObject({
  versions: z.array(versionSchema).min(1),
  type: z.string().optional(),
  tier: z.string().optional(),
  category: z.enum(SECRET_CATEGORIES).optional(),
  // Not z.record: what comes from JSON.parse is taken as it is, also a key like __proto__.
  metadata: z.custom<JsonObject>(isObject).optional(),
  hosts: z.array(z.string()),
  /** When it was made: where its first version is not among the versions any more. */
  madeAt: z.number().optional(),
  /** When it became another without a new version: it was described anew, or made again after its removal. */
  changedAt: z.number().optional(),
});
export type Meta = z.output<typeof metaSchema>;

/** Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
export const parseMeta = (barrier: Barrier, path: string, sealed: Buffer): Meta =>
  recallJson(barrier, META + path, sealed, metaSchema);

export const newestOf = (meta: Meta): MetaVersion => {
  const last = meta.versions.at(-1);
  if (last === undefined) throw new TypeError("metadata without a version");
  return last;
};

export const madeAtOf = ({ madeAt, versions }: Meta): EpochMs => madeAt ?? versions[0]?.createdAt ?? 0;

export const infoOf = (path: string, meta: Meta): SecretInfo => {
  const { version, createdAt: updatedAt, expiresAt, reference } = newestOf(meta);
  const createdAt = madeAtOf(meta);
  const { type, tier, category, metadata = {}, hosts } = meta;
  return {
    path,
    id: idOf(path, createdAt),
    version,
    type,
    tier: judgeTier(tier),
    category,
    metadata,
    hosts,
    expiresAt,
    reference,
    createdAt,
    updatedAt,
  };
};

/** Computed, so that a row of Sidekey 0.1 has one too. */
const idOf = (path: string, createdAt: EpochMs): string => {
  const hex = createHash("sha256").update(`secret ${path} ${createdAt}`).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
};

export const isSecretTier = (word: string): word is SecretTier => SECRET_TIERS.some((tier) => tier === word);

/** Who took the trouble to write `high` did not mean that anybody may have it. */
export const judgeTier = (word: string | undefined): SecretTier => {
  if (word === undefined) return "standard";
  return isSecretTier(word) ? word : "sensitive";
};

/** The parts of a row that stand beside the versions. Errors: VAULT_BAD_METADATA. */
export const checkDescription = (options: DescribeOptions): Partial<Meta> => {
  const { type, tier, category, metadata, hosts } = options;
  return {
    ...(type !== undefined && { type: checkWord(type) }),
    ...(tier !== undefined && { tier: checkWord(tier) }),
    ...(category !== undefined && { category: checkCategory(category) }),
    ...(metadata !== undefined && { metadata: checkMetadata(metadata) }),
    ...(hosts !== undefined && { hosts: checkHosts(hosts) }),
  };
};

const checkWord = (word: string): string => {
  if (!WORD.test(word)) throw badMetadata(`${JSON.stringify(word.slice(0, 80))} is not a word for a type or tier.`);
  return word;
};

const checkCategory = (word: string): Meta["category"] => {
  const found = SECRET_CATEGORIES.find((category) => category === word);
  if (found === undefined) throw badMetadata(`A category is one of ${SECRET_CATEGORIES.join(", ")}.`);
  return found;
};

/** A copy, so that nobody changes afterwards what was checked. */
const checkMetadata = (metadata: JsonObject): JsonObject => {
  if (!isObject(metadata)) throw badMetadata("Metadata are a JSON object.");
  if (!isJson(metadata, MAX_METADATA_DEPTH)) {
    throw badMetadata(`Metadata hold JSON alone, and go ${MAX_METADATA_DEPTH} levels deep at most.`);
  }
  const text = JSON.stringify(metadata);
  if (Buffer.byteLength(text) > MAX_METADATA_BYTES) throw badMetadata("Metadata are at most 8 KiB as JSON.");
  return JSON.parse(text);
};

const isJson = (value: unknown, depth: number): boolean => {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || depth === 0) return false;
  if (!Array.isArray(value)) {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) return false;
  }
  return Object.values(value).every((inner) => isJson(inner, depth - 1));
};

const checkHosts = (hosts: readonly string[]): string[] => {
  const names = new Set<string>();
  for (const text of hosts) {
    const host = parseHost(text);
    if (host === undefined) throw badMetadata(`${JSON.stringify(text.slice(0, 255))} is not a host without a port.`);
    names.add(host.name);
  }
  if (names.size > MAX_HOSTS) throw badMetadata(`More than ${MAX_HOSTS} hosts.`);
  return [...names];
};

/** Another's name must not steer a terminal, nor fill the row. Errors: VAULT_BAD_METADATA. */
export const checkBy = (by: string): string => {
  if (!BY.test(by)) throw badMetadata("Who wrote it is told in 1 to 64 printable characters.");
  return by;
};

/** An end that has come already is a mistake of whoever wrote it. Errors: VAULT_BAD_METADATA. */
export const checkExpiry = (expiresAt: EpochMs | null | undefined, now: EpochMs): void => {
  if (expiresAt === undefined || expiresAt === null) return;
  if (!Number.isSafeInteger(expiresAt) || expiresAt <= now) throw badMetadata("An end is a time to come.");
};

/** Errors: VAULT_BAD_METADATA. */
export const checkReference = ({ backend, ref }: SecretReference): SecretReference => {
  if (!REFERENCE_BACKENDS.some((name) => name === backend)) {
    throw badMetadata(`A reference leads to one of ${REFERENCE_BACKENDS.join(", ")}.`);
  }
  if (!REF.test(ref)) throw badMetadata("A reference is 1 to 2,048 printable characters without a space.");
  return { backend, ref };
};

export const badMetadata = (detail: string): SidekeyError => new SidekeyError("VAULT_BAD_METADATA", { detail });
