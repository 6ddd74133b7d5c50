/**
 * What the vault asks of a database: ordered bytes, transactions, and a number that tells whether anything changed.
 * Nothing here knows what a secret is; rows arrive sealed.
 */

export interface ReadTx {
  /** How many write transactions there were before; one that writes adds itself at its end. */
  readonly generation: number;
  get(key: string): Buffer | undefined;
  /** Rows whose key starts with `prefix`, in key order; read whole before it returns. */
  range(prefix: string): readonly Row[];
}

export interface Tx extends ReadTx {
  put(key: string, value: Uint8Array): void;
  /** False when there was no such row. */
  remove(key: string): boolean;
}

export interface Row {
  readonly key: string;
  readonly value: Buffer;
}

/** Errors of every method: VAULT_STORE_BUSY, and what the callback throws. */
export interface VaultStorage {
  /** One snapshot, the newest commit of any process. `use` must not wait. */
  read<T>(use: (tx: ReadTx) => T): Promise<T>;
  /** All or nothing: what `use` throws undoes it. Resolves when the commit is on disk. `use` must not wait. */
  write<T>(use: (tx: Tx) => T): Promise<T>;
  close(): Promise<void>;
}

/** A store in this process, quick enough to be asked once per request (about 1 µs). */
export interface EmbeddedStorage extends VaultStorage {
  /** As `read`, at once. */
  readNow<T>(use: (tx: ReadTx) => T): T;
  /** Grows with each write transaction of any process. */
  generation(): number;
}
