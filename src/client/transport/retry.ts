/**
 * When a call is made again, and after how long. A call that changes something is repeated only when the vault surely
 * took no notice of it; everything else also when nobody knows.
 */
import { NetworkError, RateLimitError, UnavailableError, type VaultClientError } from "../errors.ts";

export interface RetryPolicy {
  /** Calls beyond the first. */
  readonly retries: number;
  /** Zero to one. */
  random(): number;
  /** Rejects with the signal's reason. */
  pause(ms: number, signal: AbortSignal | undefined): Promise<void>;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
/** A vault that asks for a longer pause is told on instead. `s` */
const LONGEST_RETRY_AFTER = 30;

/** What `call` gives at last. `repeatable`: to make it twice is as good as once. */
export const retrying = async <T>(
  { retries, random, pause }: RetryPolicy,
  repeatable: boolean,
  signal: AbortSignal | undefined,
  call: () => Promise<T>,
): Promise<T> => {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      const delay = attempt < retries ? delayAfter(error, attempt, repeatable, random) : undefined;
      if (delay === undefined) throw error;
      await pause(delay, signal);
    }
  }
};

const delayAfter = (error: unknown, attempt: number, repeatable: boolean, random: () => number): number | undefined => {
  if (!mayRepeat(error, repeatable)) return undefined;
  const { retryAfter } = error;
  if (retryAfter !== undefined && retryAfter > LONGEST_RETRY_AFTER) return undefined;
  return backoff(attempt, random) + (retryAfter ?? 0) * 1000;
};

/** Full jitter: those who failed together do not come back together. `ms` */
export const backoff = (attempt: number, random: () => number): number =>
  Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempt, 10)) * (0.25 + 0.75 * random());

const mayRepeat = (error: unknown, repeatable: boolean): error is VaultClientError => {
  if (error instanceof RateLimitError) return true;
  if (error instanceof NetworkError) return error.code === "CLIENT_UNREACHABLE" && (repeatable || !error.sent);
  // It refused before it did anything; after any other 5xx nobody knows.
  if (error instanceof UnavailableError) return repeatable || error.vaultCode === "DRAINING";
  return false;
};
