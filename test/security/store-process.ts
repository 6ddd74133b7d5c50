/**
 * A process on a vault that is there to be killed: `STATE write NAME [MS]` changes secrets of its own without end (and
 * waits so long between them) and says which changes are in; `STATE operate NAME` does all that can be done to secrets, in
 * the order of store-operations.ts; `STATE rekey` gives the vault one new key after the other;
 * `STATE spend ID…` spends one use of each of these tokens, all at once, and says which it has spent.
 */
import { setTimeout as wait } from "node:timers/promises";
import { isSidekeyError } from "../../src/core/errors.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { openStore } from "./store-open.ts";
import { operate } from "./store-operations.ts";
import { expectedValue, PATHS, pathOf } from "./store-values.ts";

const [, , state = "", mode = "", name = "", ms = "0"] = process.argv;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const vault = await openStore(state);
say("open");
if (mode === "rekey") {
  for (let n = 0; ; n += 1) {
    say(`begun ${n}`);
    await vault.rekey();
    say(`rekeyed ${n}`);
  }
}
if (mode === "operate") {
  for (let n = 0; ; n += 1) {
    await operate(vault, name, n, SecretValue.fromText(expectedValue(name, n)));
    say(`done ${n}`);
  }
}
if (mode === "spend") {
  await Promise.all(
    process.argv.slice(4).map(async (id) => {
      const spent = await vault.tokens.spend(id).then(
        () => "spent",
        (error: unknown) => (isSidekeyError(error) ? error.code : String(error)),
      );
      say(`${spent} ${id}`);
    }),
  );
  await vault.close();
  process.exit();
}
for (let n = 0; ; n += 1) {
  const path = pathOf(name, n);
  // What an earlier process of this name left may be there or not.
  const value = SecretValue.fromText(expectedValue(name, n));
  if (n % (3 * PATHS) === 0) {
    await vault.secrets.importAll(Array.from({ length: PATHS }, (_, at) => ({ path: pathOf(name, at), value })));
    say(`all ${n}`);
  } else {
    await vault.secrets.set(path, value, { hosts: [`h${n}.test`] });
    say(`set ${n}`);
  }
  if (ms !== "0") await wait(Number(ms));
}
