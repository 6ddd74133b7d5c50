/**
 * What a vault said of one secret and a host that it is not bound to: a word on that host alone, so that a request to one
 * host can't take the secret from a route's others. Bounded in number and in time.
 */
import type { Clock } from "../../core/clock.ts";
import { SidekeyError } from "../../core/errors.ts";

interface Refusal {
  readonly error: SidekeyError;
  /** Monotonic, `ms`. */
  readonly until: number;
}

/** As for a secret that is missing: the answer is likely the same in a moment. `ms` */
const REFUSED_MS = 1_000;
/** A route with a wildcard may be asked for any number of hosts: past this the vault is not asked for each. */
const MAX_HOSTS = 64;

export const isHostRefusal = ({ code }: SidekeyError): boolean => code === "POLICY_SECRET_HOST";

export class HostRefusals {
  readonly #clock: Clock;
  readonly #refusals = new Map<string, Refusal>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(authority: string | undefined, error: SidekeyError): void {
    this.#refusals.set(authority ?? "", { error, until: this.#clock.monotonic() + REFUSED_MS });
  }

  /** Errors: POLICY_SECRET_HOST, of a refusal a moment ago. */
  check(authority: string | undefined): void {
    if (this.#refusals.size === 0) return;
    const now = this.#clock.monotonic();
    for (const [key, { until }] of this.#refusals) if (until <= now) this.#refusals.delete(key);
    const known = this.#refusals.get(authority ?? "");
    if (known !== undefined) throw known.error;
    if (this.#refusals.size >= MAX_HOSTS) {
      throw new SidekeyError("POLICY_SECRET_HOST", { detail: `more than ${MAX_HOSTS} hosts were refused in a second` });
    }
  }
}
