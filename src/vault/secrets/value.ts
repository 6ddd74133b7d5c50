/** What a secret's value may be in a vault. */
import { SidekeyError } from "../../core/errors.ts";
import { holdsControl, MAX_SECRET_BYTES } from "../../core/secret-bytes.ts";
import type { SecretValue } from "../../core/secret-value.ts";

/** What is read from files, not put into headers: keys and certificates in PEM, and what only its owner knows. */
const TYPES_OF_LINES: ReadonlySet<string> = new Set(["ssh_key", "certificate", "custom"]);

/** Whether a value of this type may hold line breaks and tabs. */
const mayHoldLines = (type: string | undefined): boolean => type !== undefined && TYPES_OF_LINES.has(type);

/** Errors: VAULT_BAD_VALUE. */
export const checkSecretValue = (value: SecretValue, type?: string): void => {
  const fault = secretValueFault(value, type);
  if (fault !== undefined) throw new SidekeyError("VAULT_BAD_VALUE", { detail: `The value ${fault}.` });
};

/** Why it can't be a secret, after `the value`; undefined when it can. Says nothing of what it is. */
export const secretValueFault = (value: SecretValue, type?: string): string | undefined => {
  if (value.length === 0) return "is empty";
  if (value.length > MAX_SECRET_BYTES) return "is larger than 64 KiB";
  if (!value.lend(holdsControl)) return undefined;
  if (!mayHoldLines(type)) {
    return "holds a control character, such as a line break, NUL or tab, so it can never stand in a header";
  }
  return value.lend((bytes) => holdsControl(bytes.filter(isNoLine)))
    ? "holds a control character that is no line break or tab"
    : undefined;
};

const isNoLine = (byte: number): boolean => byte !== 0x09 && byte !== 0x0a && byte !== 0x0d;
