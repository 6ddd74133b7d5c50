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
  readonly open: (signal: AbortSignal) => AsyncIterable<VaultSignal>;
  readonly heard: (signal: VaultSignal) => void;
  /** It could not be opened, or has ended. */
  readonly failed: (fault: LinkFault) => void;
  readonly clock: Clock;
  readonly after: After;
  /** 0 to 1, evenly. */
  readonly random: () => number;
}

export interface EventStream extends Closable {
  /** Standing, or broken for less than `UNHEARD_MS`. */
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

export const createEventStream = ({ open, heard, failed, clock, after, random }: EventStreamOptions): EventStream => {
  let stands = false;
  let brokeAt = Number.NEGATIVE_INFINITY;
  let failures = 0;
  /** Ends the attempt or the pause that is under way. */
  let current: Attempt | undefined;

  const broke = (): void => {
    if (stands) brokeAt = clock.monotonic();
    stands = false;
  };

  const listen = async (mine: Attempt, abort: AbortController): Promise<void> => {
    for await (const signal of open(abort.signal)) {
      // Overtaken: the one that stands says it too.
      if (current !== mine) return;
      if (signal.type === "ready") {
        stands = true;
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
    isHeard: () => stands || clock.monotonic() - brokeAt < UNHEARD_MS,
    lastHeard: () => (stands ? clock.monotonic() : brokeAt),
    restart() {
      end();
      begin();
    },
    close: end,
  };
};
