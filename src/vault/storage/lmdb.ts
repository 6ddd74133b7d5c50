/**
 * The embedded store: the only door to lmdb-js, which is imported when a store is opened. Several processes may have
 * the same directory open. Must never hand out memory that LMDB still owns, and never resolve a write before it is on
 * disk.
 */
import { chmod, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { RootDatabase, RootDatabaseOptionsWithPath } from "lmdb";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { inspectDataFile } from "./inspect.ts";
import type { EmbeddedStorage, Row, Tx } from "./storage.ts";

const FILE_MODE = 0o600;
const OTHERS = 0o077;
/** Address space, not disk. LMDB grows it, but every process then has to notice; few stores ever will. */
const MAP_BYTES = 64 * 1024 * 1024;
const GENERATION_KEY = Buffer.from("generation");
const COUNTER_BYTES = 8;

type Options = RootDatabaseOptionsWithPath & { readonly permissionsMode: number };
type Database = RootDatabase<Buffer, Buffer>;

/** `directory` is made (0700) when absent. Errors: VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const openLmdb = async (directory: string): Promise<EmbeddedStorage> => {
  const db = await openDatabase(directory);

  const tx: Tx = {
    get: (key) => db.getBinary(Buffer.from(key)),
    put: (key, value) => db.putSync(Buffer.from(key), Buffer.from(value)),
    remove: (key) => db.removeSync(Buffer.from(key)),
    range: (prefix) => rowsOf(db, prefix),
  };

  /** lmdb-js keeps one snapshot for the turn of the loop; without this another process's commit would come late. */
  const newest = <T>(use: () => T): T =>
    guarded(directory, () => {
      db.resetReadTxn();
      return use();
    });

  let generation: number | undefined;
  const forgetGeneration = (): void => {
    generation = undefined;
  };

  return {
    read: async (use) => newest(() => use(tx)),
    async write(use) {
      try {
        // A child transaction is what lmdb-js rolls back when the callback throws; a plain one keeps the half.
        return await db.childTransaction(() => {
          const result = use(tx);
          db.putSync(GENERATION_KEY, encodeCounter(readCounter(db) + 1));
          return result;
        });
      } catch (error) {
        throw storageError(directory, error);
      }
    },
    peek: (key) => newest(() => db.getBinary(Buffer.from(key))),
    generation() {
      if (generation === undefined) {
        generation = newest(() => readCounter(db));
        // Several askers in one synchronous run share the answer. What a run works on had arrived before it began, so
        // the next request always asks again.
        queueMicrotask(forgetGeneration);
      }
      return generation;
    },
    close: () => db.close(),
  };
};

const openDatabase = async (directory: string): Promise<Database> => {
  const file = join(directory, "data.mdb");
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await inspectDataFile(file);
    const { open } = await import("lmdb");
    const options: Options = {
      path: directory,
      noSubdir: false,
      encoding: "binary",
      keyEncoding: "binary",
      mapSize: MAP_BYTES,
      maxDbs: 1,
      // Its commits return before they are on disk.
      overlappingSync: false,
      permissionsMode: FILE_MODE,
    };
    const db = open<Buffer, Buffer>(options);
    await closeToOthers(file);
    await closeToOthers(join(directory, "lock.mdb"));
    return db;
  } catch (error) {
    throw storageError(directory, error);
  }
};

/** The mode above is only for files that LMDB makes; a restored copy may have come with a wider one. */
const closeToOthers = async (file: string): Promise<void> => {
  const { mode } = await stat(file);
  if ((mode & OTHERS) !== 0) await chmod(file, FILE_MODE);
};

const rowsOf = (db: Database, prefix: string): readonly Row[] => {
  const rows: Row[] = [];
  for (const { key, value } of db.getRange({ start: Buffer.from(prefix) })) {
    const text = key.toString("utf8");
    if (!text.startsWith(prefix)) break;
    rows.push({ key: text, value });
  }
  return rows;
};

/** Not getBinary: this is asked once per request, and the bytes are used before the next read. */
const readCounter = (db: Database): number => {
  const bytes = db.getBinaryFast(GENERATION_KEY);
  return bytes === undefined ? 0 : bytes.readUIntBE(2, 6);
};

const encodeCounter = (value: number): Buffer => {
  const bytes = Buffer.alloc(COUNTER_BYTES);
  bytes.writeUIntBE(value, 2, 6);
  return bytes;
};

const guarded = <T>(directory: string, use: () => T): T => {
  try {
    return use();
  } catch (error) {
    throw storageError(directory, error);
  }
};

/** Our own mistakes stay what they are; LMDB's errors are plain ones. */
const storageError = (directory: string, error: unknown): unknown =>
  isSidekeyError(error) || error instanceof TypeError
    ? error
    : new SidekeyError("VAULT_STORE_BUSY", { detail: `The store in ${directory} failed.`, cause: error });
