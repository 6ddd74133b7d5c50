/**
 * Who may ask for a connection now. Where the server has no more of them, those that this process has are all there is, and
 * who comes waits for one of these, instead of being refused while they work. Knows no database.
 */

export interface Places {
  /** Resolves when there is a place. Errors: what `late` makes, after the longest wait. */
  enter(first?: "first"): Promise<void>;
  /** Of whoever entered. */
  leave(): void;
  /** A new connection was made. */
  made(): void;
  /** There was none to be had beside so many that there are. */
  refused(open: number): void;
}

export interface PlacesOptions {
  readonly most: number;
  readonly longestMs: number;
  readonly late: () => Error;
}

/** After a refusal one more is tried each time. `ms` */
const GROW_EVERY_MS = 1000;

interface Waiting {
  readonly admit: () => void;
}

export const createPlaces = ({ most, longestMs, late }: PlacesOptions): Places => {
  const queue: Waiting[] = [];
  let places = most;
  let taken = 0;
  let timer: NodeJS.Timeout | undefined;

  const admit = (): void => {
    while (taken < places) {
      const next = queue.shift();
      if (next === undefined) return;
      taken += 1;
      next.admit();
    }
  };

  const grow = (): void => {
    places = Math.min(most, places + 1);
    if (places === most) {
      clearInterval(timer);
      timer = undefined;
    }
    admit();
  };

  return {
    enter: (first) =>
      new Promise((resolve, reject) => {
        const tooLong = setTimeout(() => {
          const at = queue.indexOf(waiting);
          if (at >= 0) queue.splice(at, 1);
          reject(late());
        }, longestMs);
        tooLong.unref();
        const waiting: Waiting = {
          admit() {
            clearTimeout(tooLong);
            resolve();
          },
        };
        if (first === undefined) queue.push(waiting);
        else queue.unshift(waiting);
        admit();
      }),
    leave() {
      taken -= 1;
      admit();
    },
    made: () => {
      if (places < most) grow();
    },
    refused(open) {
      places = Math.max(1, Math.min(places, open));
      timer ??= setInterval(grow, GROW_EVERY_MS).unref();
    },
  };
};
