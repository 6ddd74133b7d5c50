/**
 * A secret as bytes. It prints as `[redacted]` wherever JavaScript prints things, and has one exit, `lend`, so that a
 * search for `.lend(` lists every use of a secret.
 */
import { inspect } from "node:util";

const REDACTED = "[redacted]";

export class SecretValue {
  readonly #bytes: Buffer;

  /** Takes ownership of `bytes`: the caller must not change them afterwards. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  static fromText(text: string): SecretValue {
    return new SecretValue(Buffer.from(text, "utf8"));
  }

  /** In bytes. */
  get length(): number {
    return this.#bytes.length;
  }

  /** Hands the bytes to `use`, which must neither keep nor change them. */
  lend<T>(use: (bytes: Buffer) => T): T {
    return use(this.#bytes);
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}
