/**
 * Says when a file may have become another one: written in place, replaced, linked elsewhere (a ConfigMap's `..data`),
 * removed and made again. Events make it quick and a slow look makes it sure, since events miss other file systems and
 * links that lead out of the directory. Reads no content.
 */
import { type FSWatcher, watch } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Closable } from "../../../core/closer.ts";
import type { Log } from "../../../core/log.ts";

export interface FileWatchOptions {
  readonly path: string;
  /** Looked at like it, but without events where they are elsewhere; asked for at each look. */
  readonly others?: () => readonly string[];
  /** After the first look too. Never called again before it is done. */
  readonly changed: () => Promise<void>;
  readonly log: Log;
  /** Between looks without events, `ms`. */
  readonly everyMs?: number;
  /** After an event, so that a busy directory costs a few looks and not one for each of its events, `ms`. */
  readonly eventMs?: number;
  /** A file that changed within this is still being written, `ms`. Longer than a tick of a file system's clock. */
  readonly settleMs?: number;
}

const ABSENT = "absent";

export const watchFile = (options: FileWatchOptions): Closable => {
  const { path, others = () => [], changed, log, everyMs = 500, eventMs = 50, settleMs = 100 } = options;
  let seen: string | undefined;
  let looking = false;
  let again = false;
  let closed = false;

  const look = async (): Promise<void> => {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      do {
        again = false;
        const state = await settled();
        if (closed || state === seen) continue;
        if (state === ABSENT) log.warn("the file is gone; what it said goes on", { path });
        seen = state;
        if (state !== ABSENT) await changed();
      } while (again && !closed);
    } finally {
      looking = false;
    }
  };

  const identify = async (): Promise<string> => {
    const own = await identityOf(path);
    // While it is away, what belongs to it tells nothing.
    if (own === ABSENT) return ABSENT;
    return [own, ...(await Promise.all(others().map(identityOf)))].join();
  };

  /** The same in two looks, unless it is what was seen before. */
  const settled = async (): Promise<string> => {
    for (let state = await identify(); ; ) {
      if (state === seen || closed) return state;
      await new Promise((resolve) => setTimeout(resolve, settleMs).unref());
      const later = await identify();
      if (later === state) return state;
      state = later;
    }
  };

  let soon: NodeJS.Timeout | undefined;
  const lookSoon = (): void => {
    soon ??= setTimeout(() => {
      soon = undefined;
      void look();
    }, eventMs).unref();
  };
  const watcher = watchDirectory(dirname(path), lookSoon, log);
  const timer = setInterval(() => void look(), everyMs).unref();
  void look();
  return {
    close() {
      closed = true;
      clearInterval(timer);
      clearTimeout(soon);
      watcher?.close();
    },
  };
};

/** Which file it is, and when it last changed, links followed. */
const identityOf = async (path: string): Promise<string> => {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch {
    return ABSENT;
  }
};

/** Undefined where there are no events to be had: too many watches, or a file system without. */
const watchDirectory = (directory: string, heard: () => void, log: Log): FSWatcher | undefined => {
  const without = (): void => log.debug("no events for the file's directory; looking at times instead", { directory });
  try {
    const watcher = watch(directory, { persistent: false }, heard);
    watcher.on("error", () => {
      without();
      watcher.close();
    });
    return watcher;
  } catch {
    without();
    return undefined;
  }
};
