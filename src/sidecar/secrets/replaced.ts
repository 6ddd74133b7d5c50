/**
 * Values that were replaced or withdrawn: an upstream may hold one still and send it back, so that responses are searched
 * for them a while longer (ruling 3). Must never hand one out for use.
 */
import type { Clock } from "../../core/clock.ts";
import type { SecretValue } from "../../core/secret-value.ts";
import { MAX_REPLACED, REPLACED_MS, type ReplacedValue } from "./source.ts";

interface Remembered extends ReplacedValue {
  /** Monotonic, `ms`. */
  readonly until: number;
  /** The source tells it with each fetch, so that forgetting it here loses nothing. */
  readonly isTold: boolean;
}

export const isSameValue = (one: SecretValue, other: SecretValue): boolean =>
  one.lend((bytes) => other.lend((others) => bytes.equals(others)));

export class ReplacedValues {
  readonly #clock: Clock;
  #values: readonly Remembered[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** One that was in use until now. */
  add(value: SecretValue): void {
    const until = this.#clock.monotonic() + REPLACED_MS;
    this.#keep([{ value, replacedAt: this.#clock.now(), until, isTold: false }]);
  }

  /** What the source says it replaced. */
  told(values: readonly ReplacedValue[]): void {
    const now = this.#clock.now();
    const base = this.#clock.monotonic() + REPLACED_MS;
    this.#keep(
      values.map(({ value, replacedAt }) => ({ value, replacedAt, until: base - (now - replacedAt), isTold: true })),
    );
  }

  /** Those that may still come back beside `current`, newest first. */
  beside(current: SecretValue): readonly ReplacedValue[] {
    this.#keep([]);
    return this.#values.filter(({ value }) => !isSameValue(value, current));
  }

  /** Nothing would be lost with it. */
  get isForgettable(): boolean {
    const now = this.#clock.monotonic();
    return this.#values.every(({ isTold, until }) => isTold || until <= now);
  }

  #keep(more: readonly Remembered[]): void {
    const now = this.#clock.monotonic();
    const kept: Remembered[] = [];
    for (const one of [...more, ...this.#values].sort((a, b) => b.until - a.until)) {
      if (kept.length === MAX_REPLACED || one.until <= now) break;
      if (!kept.some(({ value }) => isSameValue(value, one.value))) kept.push(one);
    }
    this.#values = kept;
  }
}
