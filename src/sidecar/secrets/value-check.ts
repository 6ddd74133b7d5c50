/**
 * The last look at a secret's bytes before a source hands them on: what passes here can stand in a header. Must never
 * say what the bytes were.
 */
import { SidekeyError } from "../../core/errors.ts";
import { holdsControl, MAX_SECRET_BYTES } from "../../core/secret-bytes.ts";
import { SecretValue } from "../../core/secret-value.ts";
import type { SecretRef } from "./source.ts";

const SPACE = 0x20;

/**
 * Throws unless `bytes` can be a credential: 1 byte to 64 KiB, not spaces alone, no C0 control, no DEL. `where` names the reference.
 * Errors: SOURCE_SECRET_MISSING (empty), SOURCE_BAD_VALUE.
 */
export const checkSecretBytes = (bytes: Uint8Array, where: string): void => {
  checkSize(bytes, where);
  if (bytes.every((byte) => byte === SPACE)) {
    throw new SidekeyError("SOURCE_BAD_VALUE", { detail: `${where} holds spaces alone.` });
  }
  if (holdsControl(bytes)) {
    throw new SidekeyError("SOURCE_BAD_VALUE", {
      detail: `${where} holds a control character (a line break, NUL, tab or the like).`,
      hint: "Store the credential alone, on one line.",
    });
  }
};

/**
 * What a source found for `ref`, checked. With a `#FIELD` the whole is a JSON document, where line breaks are fine: the
 * resolver checks the field that it cuts out. Errors as `checkSecretBytes`.
 */
export const checkedSecret = (bytes: Buffer, ref: SecretRef): SecretValue => {
  if (ref.field.length === 0) checkSecretBytes(bytes, ref.text);
  else checkSize(bytes, ref.text);
  return new SecretValue(bytes);
};

const checkSize = (bytes: Uint8Array, where: string): void => {
  if (bytes.length === 0) throw new SidekeyError("SOURCE_SECRET_MISSING", { detail: `${where} is empty.` });
  if (bytes.length > MAX_SECRET_BYTES) {
    throw new SidekeyError("SOURCE_BAD_VALUE", { detail: `${where} is larger than 64 KiB.` });
  }
};
