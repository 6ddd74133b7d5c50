/** `vault serve`: the vault's server in the foreground. One line on standard output when its port is open; logs on standard error. */
import { refuseExposedFile } from "../../sidecar/app/file-check.ts";
import type { CommandSpec } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseUntrustedTls } from "../guard.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { LOG_LEVELS, logLevel } from "../log-level.ts";
import { stopSignal } from "../stop-signal.ts";
import { loadVaultFile, VAULT_FILE_OPTION } from "../vault-file.ts";

export const vaultServe: CommandSpec = {
  name: "vault serve",
  summary: "serve a vault to sidecars, agents and operators over HTTP",
  options: [VAULT_FILE_OPTION, { flags: "--log-level <level>", summary: "how much it logs", choices: LOG_LEVELS }],
  examples: ["sidekey vault serve", "sidekey vault serve -c /etc/sidekey/vault.yaml"],
  async run(invocation) {
    const { environment, terminal } = invocation;
    refuseInsideRun("vault serve", invocation);
    refuseUntrustedTls(environment);
    const config = await loadVaultFile(invocation);
    if (config.file !== undefined) refuseExposedFile(config.file);
    const { createLog } = await import("../../core/process-log.ts");
    const log = createLog({ level: logLevel(invocation, config.logLevel) });
    // Before anything is open, so that a signal on the way up ends in an orderly way as well.
    const stopped = stopSignal();
    const { startVaultServer } = await import("../../vault/server/lifecycle.ts");
    const server = await startVaultServer({ config, environment, log });
    terminal.print(`sidekey vault ready ${JSON.stringify(server.ready)}`);
    const signal = await stopped;
    log.info("stopping", { signal });
    await server.drain();
    return EXIT_OK;
  },
};
