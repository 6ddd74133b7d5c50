/** A vault's server that is there to be killed: `FILE` is its vault.yaml. Says where it listens, and serves. */
import { silentLog } from "../../src/core/log.ts";
import { readVaultConfig } from "../../src/vault/server/config/config.ts";
import { startVaultServer } from "../../src/vault/server/lifecycle.ts";

const [, , file = ""] = process.argv;
const server = await startVaultServer({ config: readVaultConfig(file), environment: {}, log: silentLog });
process.stdout.write(`${server.ready.address}\n`);
