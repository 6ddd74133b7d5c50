/**
 * The vault's events, heard for as long as there is a token. The link mends its connection by itself; this opens it anew
 * for another token, and after an end. Says what it heard and when; what that means is its owner's business.
 */
import type { Clock } from "../../../core/clock.ts";
import type { Closable } from "../../../core/closer.ts";
import type { After } from "../fetch.ts";
import { UNHEARD_MS } from "../source.ts";
import { type LinkFault, toLinkFault, type VaultSignal } from "./link.ts";

export interface EventStreamOptions {
  /** With the token as it is now. */
  readonly open: (signal: AbortSignal, alive: () => void) => AsyncIterable<VaultSignal>;
  readonly heard: (signal: VaultSignal) => void;
  /** It could not be opened, or has ended. */
  readonly failed: (fault: LinkFault) => void;
  readonly clock: Clock;
  readonly after: After;
  /** 0 to 1, evenly. */
  readonly random: () => number;
}

export interface EventStream extends Closable {
  /** Standing, and not quiet for `UNHEARD_MS` where it promises more; or broken for less than that. */
  isHeard(): boolean;
  /** Monotonic, `ms`; negative infinity before the first word. */
  lastHeard(): number;
  /** Opens it, or opens it anew: the token is another one. */
  restart(): void;
}

interface Attempt {
  end(): void;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** One may be late without being missing. */
const BEATS_TO_MISS = 2;

export const createEventStream = ({ open, heard, failed, clock, after, random }: EventStreamOptions): EventStream => {
  let stands = false;
  let brokeAt = Number.NEGATIVE_INFINITY;
  /** It promises a sign of life often enough for its silence to say something. */
  let beats = false;
  let spokeAt = Number.NEGATIVE_INFINITY;
  let failures = 0;
  /** Ends the attempt or the pause that is under way. */
  let current: Attempt | undefined;

  /** It stands, and nobody may be at its other end. */
  const isQuiet = (): boolean => beats && clock.monotonic() - spokeAt >= UNHEARD_MS;

  const broke = (): void => {
    if (stands) brokeAt = isQuiet() ? spokeAt : clock.monotonic();
    stands = false;
  };

  const listen = async (mine: Attempt, abort: AbortController): Promise<void> => {
    const alive = (): void => {
      if (current === mine) spokeAt = clock.monotonic();
    };
    for await (const signal of open(abort.signal, alive)) {
      // Overtaken: the one that stands says it too.
      if (current !== mine) return;
      if (signal.type === "ready") {
        stands = true;
        spokeAt = clock.monotonic();
        beats = (signal.beatMs ?? Number.POSITIVE_INFINITY) * BEATS_TO_MISS <= UNHEARD_MS;
        failures = 0;
      } else if (signal.type === "lost") broke();
      heard(signal);
    }
  };

  const run = async (mine: Attempt, abort: AbortController): Promise<void> => {
    let fault: LinkFault | undefined;
    try {
      await listen(mine, abort);
    } catch (thrown) {
      fault = toLinkFault(thrown);
    }
    if (current !== mine) return;
    broke();
    failures += 1;
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 16), LONGEST_PAUSE_MS) * (0.5 + random() / 2);
    current = { end: after(pause, begin) };
    if (fault !== undefined) failed(fault);
  };

  const begin = (): void => {
    const abort = new AbortController();
    const mine: Attempt = { end: () => abort.abort() };
    current = mine;
    void run(mine, abort);
  };

  const end = (): void => {
    const old = current;
    current = undefined;
    broke();
    old?.end();
  };

  return {
    isHeard: () => (stands ? !isQuiet() : clock.monotonic() - brokeAt < UNHEARD_MS),
    lastHeard() {
      if (!stands) return brokeAt;
      return isQuiet() ? spokeAt : clock.monotonic();
    },
    restart() {
      end();
      begin();
    },
    close: end,
  };
};
