/**
 * Names to addresses for one connection: every address is judged, and only those that passed are handed to the socket.
 * A resolver that does not answer ends here, long before the route's connect timeout might.
 */
import { type LookupAddress, lookup as systemLookup } from "node:dns";
import type { LookupFunction } from "node:net";
import { SidekeyError } from "../../core/errors.ts";

/** Names to addresses, passed in so that tests need no DNS. Shape of `dns.lookup` with `all: true`. */
export type Resolver = (
  hostname: string,
  options: { readonly all: true; readonly order: "verbatim" },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

export const systemResolver: Resolver = systemLookup;

/** `ms` */
export const DNS_TIMEOUT_MS = 5_000;

/** Undefined: may be connected to. */
export type AddressVerdict = (address: string) => SidekeyError | undefined;

/** Its callback gets POLICY_ADDRESS, POLICY_CLEARTEXT or POLICY_LOOP when no address is open, else the resolver's error. */
export const guardedLookup =
  (resolve: Resolver, judge: AddressVerdict, timeoutMs: number): LookupFunction =>
  (name, options, callback) => {
    let answered = false;
    const answer = (error: Error | null, addresses: LookupAddress[]): void => {
      // A late answer after the timeout, or a second one, is nobody's.
      if (answered) return;
      answered = true;
      clearTimeout(timer);
      const [first] = addresses;
      if (error !== null || first === undefined) callback(error ?? new SidekeyError("UPSTREAM_UNREACHABLE"), []);
      else if (options.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    };
    const timer = setTimeout(() => {
      answer(new SidekeyError("UPSTREAM_TIMEOUT", { detail: `no answer about ${name} from the resolver` }), []);
    }, timeoutMs);
    resolve(name, { all: true, order: "verbatim" }, (error, addresses) => {
      if (error !== null) return answer(error, []);
      let refusal: SidekeyError | undefined;
      const open = addresses.filter(({ address }) => {
        const verdict = judge(address);
        refusal ??= verdict;
        return verdict === undefined;
      });
      answer(open.length === 0 ? (refusal ?? null) : null, open);
    });
  };
