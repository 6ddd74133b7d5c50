/** What a secret's value may be in a vault. */
import { SidekeyError } from "../core/errors.ts";
import { holdsControl, MAX_SECRET_BYTES } from "../core/secret-bytes.ts";
import type { SecretValue } from "../core/secret-value.ts";

/** Errors: VAULT_BAD_VALUE. */
export const checkSecretValue = (value: SecretValue): void => {
  const fault = secretValueFault(value);
  if (fault !== undefined) throw new SidekeyError("VAULT_BAD_VALUE", { detail: `The value ${fault}.` });
};

/** Why it can't be a secret, after `the value`; undefined when it can. Says nothing of what it is. */
export const secretValueFault = (value: SecretValue): string | undefined => {
  if (value.length === 0) return "is empty";
  if (value.length > MAX_SECRET_BYTES) return "is larger than 64 KiB";
  if (!value.lend(holdsControl)) return undefined;
  return "holds a control character, such as a line break, NUL or tab, so it can never stand in a header";
};
