/**
 * The embedded store: the only door to lmdb-js, which is imported when a store is opened. Several processes may have
 * the same directory open. Must never hand out memory that LMDB still owns, and never resolve a write before it is on
 * disk.
 */
import { statSync } from "node:fs";
import { chmod, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { RootDatabase, RootDatabaseOptionsWithPath } from "lmdb";
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { inspectDataFile } from "./inspect.ts";
import type { EmbeddedStorage, RangeOptions, Row, Tx, Watchable } from "./storage.ts";

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const OTHERS = 0o077;
/** Address space, not disk. LMDB grows it, but every process then has to notice; few stores ever will. */
const MAP_BYTES = 64 * 1024 * 1024;
/** Beside the rows, and none of them. */
const GENERATION = "generation";
const LAST = Buffer.from([0xff]);
const GENERATION_KEY = Buffer.from(GENERATION);
const COUNTER_BYTES = 8;
/** Writes between two looks for readers that died: what such a one had read keeps its pages, and the file grows. */
const LOOK_FOR_DEAD_EVERY = 64;
/** LMDB tells nobody of a commit; a look costs about 1 µs. `ms` */
const WATCH_EVERY_MS = 50;

type Options = RootDatabaseOptionsWithPath & { readonly permissionsMode: number };
type Database = RootDatabase<Buffer, Buffer>;

/** `directory` is made (0700) when absent. Errors: VAULT_STORE_DAMAGED, VAULT_STORE_BUSY. */
export const openLmdb = async (directory: string): Promise<EmbeddedStorage & Watchable> => {
  const shared = await openDatabase(directory);
  const { db } = shared;
  let closed = false;

  const tx: Tx = {
    get generation() {
      return readCounter(db);
    },
    get: (key) => db.getBinary(Buffer.from(key)),
    peek: (key) => db.getBinary(Buffer.from(key)),
    put: (key, value) => db.putSync(Buffer.from(key), Buffer.from(value)),
    remove: (key) => db.removeSync(Buffer.from(key)),
    range: (prefix, options) => rowsOf(db, prefix, options),
    expect() {},
  };

  const refuseClosed = (): void => {
    if (closed) throw new Error("closed");
  };

  /** lmdb-js keeps one snapshot for the turn of the loop; without this another process's commit would come late. */
  const newest = <T>(use: () => T): T =>
    guarded(directory, () => {
      refuseClosed();
      db.resetReadTxn();
      return use();
    });

  let generation: number | undefined;
  const forgetGeneration = (): void => {
    generation = undefined;
  };

  const watches = new Set<NodeJS.Timeout>();

  let writes = 0;
  /** Opening does it as well; a process that stays has to do it for those that come and are killed. */
  const forgetDeadReaders = (): void => {
    writes += 1;
    if (writes % LOOK_FOR_DEAD_EVERY === 0) db.readerCheck();
  };

  return {
    read: async (use) => newest(() => use(tx)),
    async write(use) {
      try {
        refuseClosed();
        forgetDeadReaders();
        underWay += 1;
        try {
          // A child transaction is what lmdb-js rolls back when the callback throws; a plain one keeps the half.
          return await db.childTransaction(() => {
            const result = use(tx);
            db.putSync(GENERATION_KEY, encodeCounter(readCounter(db) + 1));
            return result;
          });
        } finally {
          underWay -= 1;
        }
      } catch (error) {
        throw storageError(directory, error);
      }
    },
    readNow: (use) => newest(() => use(tx)),
    generation() {
      if (generation === undefined) {
        generation = newest(() => readCounter(db));
        // Several askers in one synchronous run share the answer. What a run works on had arrived before it began, so
        // the next request always asks again.
        queueMicrotask(forgetGeneration);
      }
      return generation;
    },
    async watch(onChange) {
      let known = newest(() => readCounter(db));
      const timer = setInterval(() => {
        const found = lookAt(() => newest(() => readCounter(db)));
        if (found === undefined || found === known) return;
        known = found;
        onChange(found);
      }, WATCH_EVERY_MS).unref();
      watches.add(timer);
      return async () => {
        watches.delete(timer);
        clearInterval(timer);
      };
    },
    async close() {
      if (closed) return;
      closed = true;
      for (const timer of watches) clearInterval(timer);
      await release(shared);
    },
  };
};

/** A database of this process, and how many storages are on it. */
interface Shared {
  readonly db: Database;
  readonly file: string;
  users: number;
  closing?: Promise<void>;
}

/**
 * By file. Opening a file again that this process has open would wait, on the main thread, for a write of its own that
 * waits for the main thread.
 */
const opened = new Map<string, Shared>();

/** Writes of this process that are not answered yet. */
let underWay = 0;

/**
 * `process.exit` waits for the threads of the pool, and there a write waits for its callback, which is this thread's: for
 * ever, with the lock that every other process needs to write. A kill at any moment costs nothing that was acknowledged.
 * The kernel spares process 1 its own KILL, and not an abort.
 */
const endWithWrite = (): void => {
  if (underWay === 0) return;
  process.kill(process.pid, "SIGKILL");
  process.abort();
};

const fileId = (path: string): string | undefined => {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
};

const release = async (shared: Shared): Promise<void> => {
  shared.users -= 1;
  if (shared.users > 0) return;
  shared.closing = shared.db.close();
  try {
    await shared.closing;
  } finally {
    opened.delete(shared.file);
  }
};

const openDatabase = async (directory: string): Promise<Shared> => {
  const file = join(directory, "data.mdb");
  try {
    await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
    await closeToOthers(directory, DIRECTORY_MODE);
    await inspectDataFile(file);
    const { open } = await import("lmdb");
    // From here to the entry in `opened` nothing waits.
    for (;;) {
      const known = opened.get(fileId(file) ?? "");
      if (known === undefined) break;
      if (known.closing === undefined) {
        known.users += 1;
        return known;
      }
      await known.closing;
    }
    const options: Options = {
      path: directory,
      noSubdir: false,
      encoding: "binary",
      keyEncoding: "binary",
      mapSize: MAP_BYTES,
      maxDbs: 1,
      // Its commits return before they are on disk.
      overlappingSync: false,
      // It would wrap what is written in one turn in a promise that nobody can reach: a commit that fails, on a full disk,
      // then ends the process. Writes of one turn are one commit all the same.
      eventTurnBatching: false,
      permissionsMode: FILE_MODE,
    };
    const db = open<Buffer, Buffer>(options);
    if (!process.listeners("exit").includes(endWithWrite)) process.on("exit", endWithWrite);
    const shared: Shared = { db, file: fileId(file) ?? "", users: 1 };
    opened.set(shared.file, shared);
    try {
      await closeToOthers(file);
      await closeToOthers(join(directory, "lock.mdb"));
    } catch (error) {
      await release(shared);
      throw error;
    }
    return shared;
  } catch (error) {
    throw storageError(directory, error);
  }
};

/** The modes above are only for what is made here; a copy that was put back may have come with wider ones. */
const closeToOthers = async (path: string, mode = FILE_MODE): Promise<void> => {
  const found = await stat(path);
  if ((found.mode & OTHERS) === 0) return;
  try {
    await chmod(path, mode);
  } catch (error) {
    throw new SidekeyError("VAULT_STORE_BUSY", {
      detail: `${path} is open to other users (mode ${(found.mode & 0o777).toString(8)}) and belongs to one of them.`,
      hint: "Choose a directory that is this user's alone: 'path' of the source, or 'state', in sidekey.yaml.",
      cause: error,
    });
  }
};

const rowsOf = (
  db: Database,
  prefix: string,
  { limit = Number.POSITIVE_INFINITY, reverse = false, offset = 0 }: RangeOptions = {},
): readonly Row[] => {
  const rows: Row[] = [];
  if (limit <= 0) return rows;
  const first = Buffer.from(prefix);
  // Only LMDB passes rows over without reading them; it would count the one that is none.
  const native = GENERATION.startsWith(prefix) ? 0 : offset;
  let left = offset - native;
  // No text holds the byte 0xff.
  const start = reverse ? Buffer.concat([first, LAST]) : first;
  for (const { key, value } of db.getRange({ start, reverse, offset: native })) {
    const text = key.toString("utf8");
    if (!text.startsWith(prefix)) break;
    if (text === GENERATION) continue;
    left -= 1;
    if (left >= 0) continue;
    rows.push({ key: text, value });
    if (rows.length >= limit) break;
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

/** Undefined when it fails: whoever reads is told why. */
const lookAt = (look: () => number): number | undefined => {
  try {
    return look();
  } catch {
    return undefined;
  }
};

/** Our own mistakes stay what they are; LMDB's errors are plain ones. */
const storageError = (directory: string, error: unknown): unknown => {
  if (isSidekeyError(error) || error instanceof TypeError) return error;
  if (!(error instanceof Error && "commitError" in error)) {
    return new SidekeyError("VAULT_STORE_BUSY", { detail: `The store in ${directory} failed.`, cause: error });
  }
  // A promise of the reason, which it rejects beside its error: unhandled, that would end the process.
  Promise.resolve(error.commitError).catch(() => {});
  return new SidekeyError("VAULT_STORE_BUSY", {
    detail: `The store in ${directory} cannot be written; nothing of the change is in it.`,
    hint: "See whether its disk is full, or can only be read.",
    cause: error,
  });
};
