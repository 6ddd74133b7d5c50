/**
 * A process that opens each vault it is told of on standard input (a state directory), uses it, and says what came of it:
 * a code, or the values it found. Its end would be seen: damage that LMDB does not survive ends no test.
 */
import { join } from "node:path";
import { createInterface } from "node:readline";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError } from "../../src/core/errors.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { openVault } from "../../src/vault/index.ts";

export interface Outcome {
  /** Of what was refused; `INTERNAL` for what is no error of ours. */
  readonly code?: string;
  readonly message?: string;
  /** By path, where it was opened. */
  readonly values?: Readonly<Record<string, string>>;
  /** Of what followed: changes to some secrets, and their removal. */
  readonly writing?: string;
}

const CHANGED = 5;

const failure = (error: unknown): { readonly code: string; readonly message: string } =>
  isSidekeyError(error) ? { code: error.code, message: error.message } : { code: "INTERNAL", message: String(error) };

const use = async (state: string): Promise<Outcome> => {
  try {
    const vault = await openVault({
      directory: join(state, "vault"),
      keys: { file: join(state, "vault.key") },
      clock: systemClock,
    });
    try {
      const values: Record<string, string> = {};
      for (const { path } of await vault.secrets.list()) {
        values[path] = (await vault.secrets.get(path)).value.lend(String);
      }
      try {
        const some = Object.keys(values).slice(0, CHANGED);
        for (const path of some) await vault.secrets.set(path, SecretValue.fromText("n".repeat(5000)));
        for (const path of some) await vault.secrets.remove(path);
        await vault.secrets.list();
      } catch (error) {
        return { values, writing: failure(error).code };
      }
      return { values, writing: "ok" };
    } finally {
      await vault.close();
    }
  } catch (error) {
    return failure(error);
  }
};

for await (const state of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await use(state))}\n`);
}
