/**
 * What stands between the vault's rows and the disk: each row is a Fernet token of the JSON `{v, path, version, value}`,
 * and opens only as the row it was sealed for, since Fernet itself binds a text to no place. Must never let a row
 * through unopened, or say anything of its content.
 */
import * as z from "zod";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";
import { type FernetKey, openFernet, sealFernet } from "./fernet.ts";
import { createRowMemory, type RowMemory } from "./row-memory.ts";

/** Which row a sealed text belongs to. */
export interface RowName {
  /** A secret's path, or another row's name, which holds a `:` and so is no path. */
  readonly path: string;
  /** 0 for rows that have no versions. */
  readonly version: number;
}

export interface Barrier {
  seal(row: RowName, value: Uint8Array): Buffer;
  /** Errors: VAULT_KEY_WRONG (no key opens it), VAULT_STORE_DAMAGED (it is another row's, or no record). */
  open(row: RowName, sealed: Buffer): Buffer;
  /** That of the keys which has sealed it. */
  keyOf(sealed: Buffer): FernetKey | undefined;
  /** Whether the key that seals now has sealed it. */
  isCurrent(sealed: Buffer): boolean;
  /** The same record, sealed with the key that seals now; `key` is the row's. Errors: VAULT_KEY_WRONG. */
  reseal(key: string, sealed: Buffer): Buffer;
  /** For `recallJson`. */
  readonly memory: RowMemory;
}

const FORMAT = 1;

const recordSchema = z.strictObject({
  v: z.literal(FORMAT),
  path: z.string(),
  version: z.number().int().nonnegative(),
  value: z.string(),
});

/** Seals with the first key and opens with any, so that keys can be changed one after the other, also under way. */
export const createBarrier = (ring: { readonly keys: readonly FernetKey[] }, clock: Clock): Barrier => {
  const first = (): FernetKey => {
    const [key] = ring.keys;
    if (key === undefined) throw new TypeError("a barrier needs a key");
    return key;
  };

  const encrypt = (message: Buffer): Buffer => Buffer.from(sealFernet(first(), message, clock.now()), "latin1");

  const decrypted = (sealed: Buffer): Buffer | undefined => {
    const token = sealed.toString("latin1");
    const now = clock.now();
    for (const key of ring.keys) {
      const message = openFernet(key, token, { now });
      if (message !== undefined) return message;
    }
    return undefined;
  };

  const decrypt = (row: RowName, sealed: Buffer): Buffer => {
    const message = decrypted(sealed);
    if (message !== undefined) return message;
    throw new SidekeyError("VAULT_KEY_WRONG", { detail: `Row ${nameOf(row)} opens with none of the keys.` });
  };

  return {
    seal({ path, version }, value) {
      const record = { v: FORMAT, path, version, value: Buffer.from(value).toString("base64") };
      return encrypt(Buffer.from(JSON.stringify(record)));
    },
    open(row, sealed) {
      const record = recordSchema.safeParse(parseJson(decrypt(row, sealed))).data;
      if (record?.path !== row.path || record.version !== row.version) {
        throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `Row ${nameOf(row)} holds another row's record.` });
      }
      return Buffer.from(record.value, "base64");
    },
    keyOf(sealed) {
      const token = sealed.toString("latin1");
      return ring.keys.find((key) => openFernet(key, token, { now: clock.now() }) !== undefined);
    },
    isCurrent: (sealed) => openFernet(first(), sealed.toString("latin1"), { now: clock.now() }) !== undefined,
    reseal: (key, sealed) => encrypt(decrypt({ path: key, version: 0 }, sealed)),
    memory: createRowMemory(ring),
  };
};

const nameOf = ({ path, version }: RowName): string => (version === 0 ? path : `${path} version ${version}`);

/** Undefined when it is no JSON: the parser's error quotes its input and must not travel. */
const parseJson = (bytes: Buffer): unknown => {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
};

/** A row without versions that holds JSON. */
export const sealJson = (barrier: Barrier, name: string, value: unknown): Buffer =>
  barrier.seal({ path: name, version: 0 }, Buffer.from(JSON.stringify(value)));

/** Errors: VAULT_KEY_WRONG, VAULT_STORE_DAMAGED. */
export const openJson = <Schema extends z.ZodType>(
  barrier: Barrier,
  name: string,
  sealed: Buffer,
  schema: Schema,
): z.output<Schema> => {
  const parsed = schema.safeParse(parseJson(barrier.open({ path: name, version: 0 }, sealed)));
  if (!parsed.success)
    throw new SidekeyError("VAULT_STORE_DAMAGED", { detail: `Row ${name} is not what it should be.` });
  return parsed.data;
};

/** As `openJson`, of a row that holds no secret: the same bytes are opened once. Frozen. */
export const recallJson = <Schema extends z.ZodType>(
  barrier: Barrier,
  name: string,
  sealed: Buffer,
  schema: Schema,
): z.output<Schema> => {
  const known = barrier.memory.get(name, sealed, schema);
  // What was kept for a schema is what that schema gave.
  if (known !== undefined) return known as z.output<Schema>;
  const opened = openJson(barrier, name, sealed, schema);
  barrier.memory.put(name, sealed, schema, opened);
  return opened;
};
