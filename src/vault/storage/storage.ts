/**
 * What the vault asks of a database: ordered bytes, transactions, and a number that tells whether anything changed.
 * Nothing here knows what a secret is; rows arrive sealed.
 */

export interface ReadTx {
  /** How many write transactions there were before; one that writes adds itself at its end. */
  readonly generation: number;
  get(key: string): Buffer | undefined;
  /** Rows whose key starts with `prefix`, in key order, as far as `options` says; read whole before it returns. */
  range(prefix: string, options?: RangeOptions): readonly Row[];
  /** What will be asked for next: a store at the other end of a wire fetches all of it with the first of it. */
  expect(keys: readonly string[], ranges?: readonly ExpectedRange[]): void;
}

export interface RangeOptions {
  /** Default: all. */
  readonly limit?: number;
  /** From the last one backwards. */
  readonly reverse?: boolean;
  /** So many are passed over first; a store does that without looking into them. */
  readonly offset?: number;
}

export interface Tx extends ReadTx {
  /**
   * As `get`, for who only accounts for what was there: where that has to be fetched first, the run goes on with undefined,
   * and is begun again. What the callback does must not depend on it.
   */
  peek(key: string): Buffer | undefined;
  put(key: string, value: Uint8Array): void;
  /** False when there was no such row. */
  remove(key: string): boolean;
}

export interface Row {
  readonly key: string;
  readonly value: Buffer;
}

export interface ExpectedRange extends RangeOptions {
  readonly prefix: string;
}

export interface ReadOptions {
  /** As `ReadTx.expect`, for what is known before: keys, and ranges. */
  readonly expect?: readonly string[];
  readonly ranges?: readonly ExpectedRange[];
}

/**
 * A callback may run more than once before its transaction ends: a store at the other end of a wire fetches what it asked
 * for and runs it again. So it must not wait, and must change nothing but the transaction (what it assigns outside counts
 * from its last run). Errors of every method: VAULT_STORE_BUSY, and what the callback throws.
 */
export interface VaultStorage {
  /** One snapshot, the newest commit of any process. */
  read<T>(use: (tx: ReadTx) => T, options?: ReadOptions): Promise<T>;
  /** All or nothing: what `use` throws undoes it. Resolves when the commit is on disk. */
  write<T>(use: (tx: Tx) => T, options?: ReadOptions): Promise<T>;
  close(): Promise<void>;
}

/** A store in this process, quick enough to be asked once per request (about 1 µs). */
export interface EmbeddedStorage extends VaultStorage {
  /** As `read`, at once. */
  readNow<T>(use: (tx: ReadTx) => T): T;
  /** Grows with each write transaction of any process. */
  generation(): number;
}

/** A store that tells of what was written to it, by whatever process. */
export interface Watchable {
  /**
   * `onChange` hears of a generation that is newer than the one it heard of before (the first time: than that of the store
   * when this resolves), within 50 ms for an embedded store, within a second and mostly at once for another. Several writes
   * may be one call. It must not throw. It keeps no process alive. Resolves to what ends it: after that, no call.
   * Errors: VAULT_STORE_BUSY.
   */
  watch(onChange: (generation: number) => void): Promise<() => Promise<void>>;
}

/** A store too large, or too far away, to be read in one go without holding up everything else. */
export interface Scannable {
  /** All rows, some at a time, as they are at one moment; `page` gets what `begin` gave. Resolves to that. */
  scan<T>(scan: Scan<T>): Promise<T>;
}

export const isScannable = (storage: VaultStorage): storage is VaultStorage & Scannable => "scan" in storage;

export interface Scan<T> {
  /** A callback as of `read`, of the same moment; `expect` is what it asks for. */
  begin(tx: ReadTx): T;
  readonly expect: readonly string[];
  page(state: T, rows: readonly Row[]): void;
}
