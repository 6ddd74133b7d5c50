/**
 * One fetch from a source, judged: it ends in time, with a usable value or with a code. Whatever a source throws or
 * returns, nothing of it gets into an error: it may hold the secret.
 */
import { isSidekeyError, SidekeyError } from "../../core/errors.ts";
import { SecretValue } from "../../core/secret-value.ts";
import { cutField } from "./field.ts";
import {
  FETCH_TIMEOUT_MS,
  type FetchContext,
  type SecretMaterial,
  type SecretRef,
  type SecretSource,
} from "./source.ts";

/** Calls back once after so many `ms`; what it returns gives that up. */
export type After = (ms: number, act: () => void) => () => void;

export interface Fetch {
  /** Errors: SOURCE_*, IDENTITY_*. */
  readonly result: Promise<SecretMaterial>;
  /** Given up after its time, and the source has not answered since. */
  readonly hangs: boolean;
}

/** `answered`: called when the source answers after all, whatever it says. */
export const startFetch = (
  source: SecretSource,
  ref: SecretRef,
  context: Omit<FetchContext, "signal">,
  { after, answered }: { readonly after: After; readonly answered: () => void },
): Fetch => {
  const abort = new AbortController();
  const timeoutMs = source.fetchTimeoutMs ?? FETCH_TIMEOUT_MS;
  let hangs = false;
  const result = new Promise<SecretMaterial>((resolve, reject) => {
    const cancel = after(timeoutMs, () => {
      hangs = true;
      reject(new SidekeyError("SOURCE_UNAVAILABLE", { detail: `${ref.text}: no answer within ${timeoutMs} ms.` }));
      abort.abort();
    });
    const settle = (act: () => void): void => {
      if (hangs) {
        hangs = false;
        answered();
        return;
      }
      cancel();
      act();
    };
    // In a promise of its own, so that what the source throws at once is a rejection too.
    void Promise.resolve()
      .then(() => source.fetch(ref, { ...context, signal: abort.signal }))
      .then((fetched) => (fetched !== undefined && fetched === context.known ? fetched : usable(fetched, ref)))
      .then(
        (material) => settle(() => resolve(material)),
        (error: unknown) => settle(() => reject(coded(error, ref))),
      );
  });
  return {
    result,
    get hangs() {
      return hangs;
    },
  };
};

const usable = (fetched: SecretMaterial, ref: SecretRef): SecretMaterial => {
  const { value, replaced } = fetched;
  if (!(value instanceof SecretValue)) throw new TypeError("no value");
  if (ref.field.length === 0) return { ...fetched, value: cutField(value, ref) };
  return {
    ...fetched,
    value: cutField(value, ref),
    ...(replaced !== undefined && {
      replaced: replaced.flatMap(({ value: old, replacedAt }) => {
        try {
          return [{ value: cutField(old, ref), replacedAt }];
        } catch (error) {
          // An older document without that field was never sent.
          if (isSidekeyError(error)) return [];
          throw error;
        }
      }),
    }),
  };
};

const coded = (error: unknown, ref: SecretRef): SidekeyError => {
  if (isSidekeyError(error)) return error;
  const name = error instanceof Error && /^[A-Za-z]{1,40}$/.test(error.name) ? error.name : "no error";
  return new SidekeyError("SOURCE_UNAVAILABLE", { detail: `${ref.text}: the source failed (${name}).` });
};
