/** The embedded vault of a test sidecar's directory, opened beside the sidecar as another process would. */
import { join } from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { openVault, type Vault } from "../../../src/vault/index.ts";

export const withVault = async <T>(directory: string, use: (vault: Vault) => Promise<T>): Promise<T> => {
  const vault = await openVault({
    directory: join(directory, ".sidekey/vault"),
    keys: { file: join(directory, ".sidekey/vault.key") },
    clock: systemClock,
  });
  try {
    return await use(vault);
  } finally {
    await vault.close();
  }
};
