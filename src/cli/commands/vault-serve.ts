/** `vault serve`: the vault's server in the foreground. One line on standard output when its port is open; logs on standard error. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { refuseExposedFile } from "../../sidecar/app/config/file-check.ts";
import type { VaultServerConfig } from "../../vault/server/config/config.ts";
import { type CommandSpec, sameWithJson } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseUntrustedTls } from "../guard.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { LOG_LEVELS, logLevel } from "../log-level.ts";
import { stopSignal } from "../stop-signal.ts";
import { loadVaultFile, VAULT_FILE_OPTION } from "../vault/file.ts";

export const vaultServe: CommandSpec = {
  name: "vault serve",
  summary: "serve a vault to sidecars, agents and operators over HTTP",
  options: [
    VAULT_FILE_OPTION,
    { flags: "--log-level <level>", summary: "how much it logs", choices: LOG_LEVELS },
    sameWithJson("its line holds JSON anyway"),
  ],
  examples: ["sidekey vault serve", "sidekey vault serve -c /etc/sidekey/vault.yaml"],
  async run(invocation) {
    const { environment, terminal } = invocation;
    refuseInsideRun("vault serve", invocation);
    refuseUntrustedTls(environment);
    const config = await loadVaultFile(invocation);
    for (const path of filesOf(config)) refuseExposedFile(path);
    const { createLog } = await import("../../core/process-log.ts");
    const log = createLog({ level: logLevel(invocation, config.logLevel) });
    // Before anything is open, so that a signal on the way up ends in an orderly way as well.
    const stopped = stopSignal();
    // Ready for it before anything is open too: by default HUP ends a process, and that would be an outage.
    let reload = (): void => {};
    process.on("SIGHUP", () => reload());
    const { startVaultServer } = await import("../../vault/server/lifecycle.ts");
    const server = await startVaultServer({ config, environment, log });
    reload = () => void server.reload();
    terminal.print(`sidekey vault ready ${JSON.stringify(server.ready)}`);
    const signal = await stopped;
    log.info("stopping", { signal });
    await server.drain();
    return EXIT_OK;
  },
};

/** What decides who is let in, or opens the store. Absolute. */
const filesOf = ({ file, baseDir, tls, key, storage, approvals, audit }: VaultServerConfig): readonly string[] => {
  const credentials = [key, storage.kind === "postgres" ? storage.url : undefined, approvals.webhook?.secret];
  return [
    ...(file === undefined ? [] : [file]),
    ...(tls === undefined ? [] : [tls.cert, tls.key, ...(tls.clientCa === undefined ? [] : [tls.clientCa])]),
    ...credentials.flatMap((one) => (one !== undefined && "file" in one ? [resolve(baseDir, one.file)] : [])),
    audit.key,
  ].filter((path) => existsSync(path));
};
