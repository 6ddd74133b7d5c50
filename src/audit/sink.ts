/**
 * What every audit sink is to the broker. A sink keeps a chain of its own, so that one sink that fails never leaves a
 * gap in another. Everything is synchronous: a record that waits for a thread pool is a record that can be lost.
 */
import type { ChainHead } from "./chain.ts";
import type { AuditEvent } from "./record.ts";

export interface AuditSink {
  readonly kind: string;
  /** The last record stored; `seq` 0 when there is none. */
  head(): ChainHead;
  /** A record about the log itself, or one that could not be stored; comes before the next ones and is kept until then. */
  owe(event: AuditEvent): void;
  /**
   * Stores what is owed and then these encoded events (record.ts), all or none, with one write.
   *
   * @returns sequence number of the first of them
   * Errors: AUDIT_UNAVAILABLE.
   */
  append(bodies: readonly string[]): number;
  /** False from a failed write until a write succeeds. */
  healthy(): boolean;
  close(): void;
}
