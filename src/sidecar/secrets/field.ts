/** The cut of a `#FIELD` out of a JSON secret. Must never let any of the text into an error: JSON.parse quotes its input. */
import { SidekeyError } from "../../core/errors.ts";
import { SecretValue } from "../../core/secret-value.ts";
import type { SecretRef } from "./source.ts";
import { checkSecretBytes } from "./value-check.ts";

/** One member of a JSON object; the whole value where `ref` names none. Errors: SOURCE_BAD_VALUE, SOURCE_SECRET_MISSING. */
export const cutField = (value: SecretValue, ref: SecretRef): SecretValue => {
  if (ref.field.length === 0) {
    value.lend((bytes) => checkSecretBytes(bytes, ref.text));
    return value;
  }
  const fail = (why: string): never => {
    throw new SidekeyError("SOURCE_BAD_VALUE", { detail: `${ref.text}: ${why}` });
  };
  let node: unknown = value.lend((bytes) => {
    try {
      return JSON.parse(bytes.toString("utf8")) as unknown;
    } catch {
      return undefined;
    }
  });
  for (const member of ref.field) {
    if (typeof node !== "object" || node === null || Array.isArray(node) || !Object.hasOwn(node, member)) {
      return fail("the value is not a JSON object with that field");
    }
    node = (node as Record<string, unknown>)[member];
  }
  if (typeof node !== "string" && typeof node !== "number") return fail("the field is neither text nor number");
  const bytes = Buffer.from(String(node), "utf8");
  checkSecretBytes(bytes, ref.text);
  return new SecretValue(bytes);
};
