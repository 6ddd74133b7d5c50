/** A second process on a vault: sets the secret it is told to, one version after the other, and says which is in. */
import { join } from "node:path";
import { createInterface } from "node:readline";
import { systemClock } from "../../../src/core/clock.ts";
import { SecretValue } from "../../../src/core/secret-value.ts";
import { openVault } from "../../../src/vault/index.ts";

const [, , state = "", path = ""] = process.argv;
const vault = await openVault({
  directory: join(state, "vault"),
  keys: { file: join(state, "vault.key") },
  clock: systemClock,
});
process.stdout.write("open\n");
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "rm") await vault.secrets.remove(path);
  else await vault.secrets.set(path, SecretValue.fromText(line));
  process.stdout.write("done\n");
}
await vault.close();
