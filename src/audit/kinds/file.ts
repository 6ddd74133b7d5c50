/**
 * The audit file as a sink (rulings 7 and 8): one write for all that came in a turn of the event loop. A short write is
 * a failure; after one the file is opened anew, every 500 ms, until a write succeeds. Must never use libuv's pool, and
 * never go on with a chain that does not verify.
 */
import * as z from "zod";
import type { Clock } from "../../core/clock.ts";
import { SidekeyError, toSidekeyError } from "../../core/errors.ts";
import type { Kind } from "../../core/kind.ts";
import type { Log } from "../../core/log.ts";
import { type ChainHead, createLineHash, createLineWriter, GENESIS } from "../chain.ts";
import type { DiskSync } from "../disk-sync.ts";
import { type AuditFs, errnoOf, isAbsent } from "../file-access.ts";
import { readHead, writeHead } from "../head.ts";
import { createLogFile, ShortWrite } from "../log-file.ts";
import { keepsNote, resumedNote } from "../notes.ts";
import { createTimestamp, encodeEvent } from "../record.ts";
import type { Schedule } from "../schedule.ts";
import type { AuditSink } from "../sink.ts";

/** From a failure to the next attempt, in `ms`. */
export const RETRY_MS = 500;

/** How often the head is written where `sync` names no time, and between attempts to rotate, in `ms`. */
const CHECK_MS = 1000;

/** What stands around an event's text in a line, at most, in `bytes`. */
const LINE_EXTRA = 140;
/** Kept free for the record that a full file ends with when older ones are deleted, in `bytes`. */
const LAST_RECORD = 256;

const fields = z.strictObject({
  kind: z.literal("file"),
  path: z.string(),
  headPath: z.string(),
  /** Milliseconds between syncs to the disk, or one of the words. */
  sync: z.union([z.literal(["always", "never"]), z.int().min(1)]),
  /** In `bytes`: a file that would pass it is rotated. */
  maxSize: z.int().min(1),
  /** Rotated files kept. */
  keep: z.int().min(1),
});

export interface FileSinkDeps {
  /** The audit key. */
  readonly key: Buffer;
  readonly clock: Clock;
  readonly log: Log;
  readonly schedule: Schedule;
  readonly fs: AuditFs;
  /** For the syncs that no record waits for. */
  readonly disk: DiskSync;
}

const NOTHING: readonly string[] = [];

interface Failure {
  /** Monotonic. */
  readonly at: number;
  /** What it began with: errno, or a word for it. */
  readonly cause: string;
  readonly error: SidekeyError;
  /** Records turned away since. */
  refused: number;
}

const createFileSink = (
  { path, headPath, sync, maxSize, keep }: z.output<typeof fields>,
  { key, clock, log, schedule, fs, disk }: FileSinkDeps,
): AuditSink => {
  const lines = createLineWriter(key);
  const timestamp = createTimestamp(clock.now);
  const file = createLogFile(fs, path, createLineHash(key));

  let head: ChainHead = GENESIS;
  /** What `audit.head` says. */
  let anchored: ChainHead | undefined;
  let lead = "";
  /** Records that must come first in the file as it stands, then those that wait for the next write. */
  let opening: readonly string[] = [];
  let owed: string[] = [];
  let failure: Failure | undefined;
  let rotateFrom = Number.NEGATIVE_INFINITY;
  let closed = false;
  let syncing = false;
  let stopRetrying: (() => void) | undefined;

  const note = (reason: string): string => encodeEvent({ type: "admin", reason }, timestamp());

  const unavailable = (cause: unknown): SidekeyError =>
    new SidekeyError("AUDIT_UNAVAILABLE", {
      detail: cause instanceof SidekeyError ? (cause.detail ?? cause.message) : `${path}: ${errnoOf(cause)}`,
      cause,
    });

  const open = (known: ChainHead): void => {
    const next = file.open(known);
    if (next.cutAt !== undefined)
      log.error("the audit file ends before its last known record", { path, ended: next.cutAt, known: known.seq });
    head = next.head;
    if (!file.isRegular()) return;
    lead = next.lead;
    opening = next.notes.map(note);
  };

  const fail = (cause: unknown, refused: number): SidekeyError => {
    const error = unavailable(cause);
    if (failure === undefined) log.error("the audit file cannot be written", { path, error: error.message });
    failure = {
      at: clock.monotonic(),
      cause: failure?.cause ?? errnoOf(cause),
      error,
      refused: (failure?.refused ?? 0) + refused,
    };
    stopRetrying ??= schedule.every(RETRY_MS, retry);
    if (cause instanceof ShortWrite && cause.left !== undefined) {
      if (cause.left.head.seq > 0) head = cause.left.head;
      lead = cause.left.lead;
      opening = cause.left.notes.map(note);
    }
    try {
      file.close();
    } catch (closing) {
      log.warn("the audit file did not close", { path, cause: errnoOf(closing) });
    }
    return error;
  };

  const recovered = (): void => {
    failure = undefined;
    stopRetrying?.();
    stopRetrying = undefined;
    log.info("the audit file can be written again", { path });
  };

  /** Says in `audit.head` that the log reaches this far; never takes back what it said. */
  const anchor = (reached: ChainHead): void => {
    if (!file.isRegular() || (anchored !== undefined && reached.seq <= anchored.seq)) return;
    try {
      writeHead(fs, headPath, reached);
      anchored = reached;
    } catch (error) {
      log.warn("the audit head cannot be written", { path: headPath, cause: errnoOf(error) });
    }
  };

  /** Writes `bodies` as lines behind the head, after `before`; what it returns is the head then. */
  const write = (bodies: readonly string[], before: string, durable: boolean): ChainHead => {
    let { seq, hash } = head;
    lines.begin(before);
    for (const body of bodies) hash = lines.add(++seq, body, hash);
    file.write(lines.written(), durable);
    return { seq, hash };
  };

  const rotate = (): void => {
    try {
      const first = file.firstKept(keep);
      if (first !== undefined) {
        // Before anything is deleted: a crash in between must not leave a gap that nothing answers for.
        head = write([note(keepsNote(first))], "", false);
      }
      if (sync !== "never") file.sync();
      file.rotate(keep);
    } catch (error) {
      // Going on in the long file keeps every record; refusing would not.
      rotateFrom = clock.monotonic() + CHECK_MS;
      log.warn("the audit file cannot be rotated", { path, cause: errnoOf(error) });
      return;
    }
    file.close();
    open(head);
    anchor(head);
  };

  const isFull = (bodies: readonly string[]): boolean => {
    // A torn line is closed in the file it stands in.
    if (!file.isRegular() || file.size() === 0 || lead !== "" || opening.length > 0) return false;
    let after = file.size() + LAST_RECORD;
    for (const body of bodies) after += body.length + LINE_EXTRA;
    return after > maxSize && clock.monotonic() >= rotateFrom;
  };

  const store = (bodies: readonly string[]): number => {
    if (!file.isOpen()) open(head);
    else if (isFull(bodies)) rotate();
    // Records about the log itself come first; on the hot path there are none.
    const about =
      opening.length === 0 && owed.length === 0 && failure === undefined
        ? NOTHING
        : [...opening, ...(failure === undefined ? [] : [note(resumedNote(failure.refused, failure.cause))]), ...owed];
    const first = head.seq + about.length + 1;
    const all = about.length === 0 ? bodies : [...about, ...bodies];
    if (all.length === 0) return first;
    head = write(all, lead, sync === "always");
    lead = "";
    if (opening.length > 0) opening = [];
    if (owed.length > 0) owed = [];
    if (failure !== undefined) recovered();
    if (sync === "always") anchor(head);
    return first;
  };

  const append = (bodies: readonly string[]): number => {
    if (closed) throw new SidekeyError("AUDIT_UNAVAILABLE", { detail: `${path} is closed.` });
    if (failure !== undefined && clock.monotonic() - failure.at < RETRY_MS) {
      failure.refused += bodies.length;
      throw failure.error;
    }
    try {
      return store(bodies);
    } catch (error) {
      throw fail(error, bodies.length);
    }
  };

  function retry(): void {
    try {
      store([]);
    } catch (error) {
      log.debug("the audit file still cannot be written", { path, error: fail(error, 0).message });
    }
  }

  const syncAside = (reached: ChainHead): void => {
    syncing = true;
    disk.sync(path, (error) => {
      syncing = false;
      // A file that is gone is for the next tick; after a failure the file is opened anew in any case.
      if (closed || failure !== undefined || isAbsent(error)) return;
      if (error === undefined) anchor(reached);
      else log.debug("the audit file cannot be synced", { path, error: fail(error, 0).message });
    });
  };

  const offPath = (work: () => void) => (): void => {
    if (!file.isOpen() || !file.isRegular()) return;
    try {
      work();
    } catch (error) {
      log.debug("the audit file failed outside a request", { path, error: fail(error, 0).message });
    }
  };

  /** Sees whether the file was taken away: until then records go where nobody finds them. */
  const look = offPath(() => {
    if (file.isIntact()) return;
    log.error("the audit file was moved, removed or changed by someone else", { path });
    file.close();
    store([]);
  });

  /** Syncs what is new and writes the head. */
  const tick = offPath(() => {
    if (sync === "never" || syncing || head === anchored) return;
    if (sync === "always") anchor(head);
    else syncAside(head);
  });

  try {
    const saved = readHead(fs, headPath);
    if (saved === undefined) log.error("the audit head is not readable and is ignored", { path: headPath });
    open(saved ?? GENESIS);
    anchored = saved?.hash === head.hash ? head : undefined;
  } catch (error) {
    file.close();
    // A FIFO that nobody reads yet: its reader may come, and until then nothing is sent.
    if (errnoOf(error) !== "ENXIO") throw error instanceof SidekeyError ? error : unavailable(error);
    fail(error, 0);
  }
  const stopLooking = schedule.every(RETRY_MS, look);
  const stopTicking = schedule.every(typeof sync === "number" ? sync : CHECK_MS, tick);

  return {
    kind: "file",
    head: () => head,
    owe(event) {
      owed.push(encodeEvent(event, timestamp()));
    },
    append,
    healthy: () => !closed && failure === undefined,
    close() {
      if (closed) return;
      closed = true;
      stopLooking();
      stopTicking();
      stopRetrying?.();
      disk.close();
      if (!file.isOpen()) return;
      try {
        if (sync !== "never") file.sync();
        anchor(head);
        file.close();
      } catch (error) {
        log.error("the audit file did not close in order", { path, error: toSidekeyError(error).message });
      }
    },
  };
};

export const fileSink = {
  kind: "file",
  fields,
  summary: "Appends each record to a file, with the chain's head in a file beside it.",
  create: createFileSink,
} as const satisfies Kind<"file", typeof fields, FileSinkDeps, AuditSink>;
