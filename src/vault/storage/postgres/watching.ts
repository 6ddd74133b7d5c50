/**
 * Changes of a store in PostgreSQL, for all in this process who want to hear of them: by a notice over one connection,
 * mostly at once, and by a look at the generation every second, for when that connection is gone or a notice was lost.
 */
import type { Log } from "../../../core/log.ts";
import type { Database, Listener } from "./connection.ts";

export interface WatchOptions {
  readonly channel: string;
  /** Of the store now. */
  generation(): Promise<number>;
  readonly log: Log;
}

export interface Watches {
  watch(onChange: (generation: number) => void): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const LOOK_EVERY_MS = 1000;

export const createWatches = (database: Database, { channel, generation, log }: WatchOptions): Watches => {
  const listeners = new Set<(generation: number) => void>();
  let known = 0;
  let listener: Listener | undefined;
  let isConnecting = false;
  let isFirstLoss = true;
  let timer: NodeJS.Timeout | undefined;

  const tell = (found: number): void => {
    known = found;
    for (const onChange of listeners) onChange(found);
  };

  const lost = (): void => {
    listener = undefined;
    if (isFirstLoss) log.warn("notices of PostgreSQL have stopped; looking for changes once a second meanwhile");
    isFirstLoss = false;
  };

  const connect = async (): Promise<void> => {
    if (listener !== undefined || isConnecting) return;
    isConnecting = true;
    try {
      const made = await database.listen(
        channel,
        (payload) => {
          const found = Number(payload);
          // A look may have been quicker. Anybody in the database may send what is no number.
          if (listeners.size > 0 && Number.isSafeInteger(found) && found > known) tell(found);
        },
        lost,
      );
      if (timer === undefined) await made.close();
      else {
        listener = made;
        isFirstLoss = true;
      }
    } catch {
      // The next look tries again.
    } finally {
      isConnecting = false;
    }
  };

  const look = async (): Promise<void> => {
    try {
      const found = await generation();
      // Lower, too: somebody has put an older database in its place.
      if (listeners.size > 0 && found !== known && !(found < known && (await generation()) === known)) tell(found);
    } catch {
      // Whoever reads the store is told why.
    }
  };

  let looking: Promise<void> | undefined;
  const start = async (): Promise<void> => {
    known = await generation();
    timer = setInterval(() => {
      void connect();
      looking ??= look().finally(() => {
        looking = undefined;
      });
    }, LOOK_EVERY_MS).unref();
    await connect();
    // What was written before the connection stood.
    await look();
  };

  const stop = async (): Promise<void> => {
    clearInterval(timer);
    timer = undefined;
    starting = undefined;
    const ended = listener;
    listener = undefined;
    await Promise.all([looking, ended?.close()]);
  };

  let starting: Promise<void> | undefined;
  return {
    async watch(onChange) {
      starting ??= start();
      try {
        await starting;
      } catch (error) {
        starting = undefined;
        throw error;
      }
      listeners.add(onChange);
      return async () => {
        listeners.delete(onChange);
        if (listeners.size === 0 && starting !== undefined) await stop();
      };
    },
    async close() {
      listeners.clear();
      await stop();
    },
  };
};
