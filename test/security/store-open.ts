/** The vault of a test's state directory: in the database that the file `url` there names, or in the directory itself. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { type AnyVault, openSharedVault, openVault, type VaultKeySource } from "../../src/vault/index.ts";

/** From here on the vault of `state` is in that database. */
export const useDatabase = (state: string, url: string): void => writeFileSync(join(state, "url"), url);

export const openStore = (
  state: string,
  keys: VaultKeySource = { file: join(state, "vault.key") },
): Promise<AnyVault> => {
  const file = join(state, "url");
  return existsSync(file)
    ? openSharedVault({ url: readFileSync(file, "utf8"), keys, clock: systemClock, log: silentLog })
    : openVault({ directory: join(state, "vault"), keys, clock: systemClock });
};
