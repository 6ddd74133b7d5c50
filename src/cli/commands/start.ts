/** `start`: the sidecar in the foreground. One line on standard output when every port is open; logs on standard error. */
import { refuseExposedFile, refuseExposedFiles } from "../../sidecar/app/config/file-check.ts";
import { CONFIG_OPTION, type CommandSpec, sameWithJson } from "../command.ts";
import { loadRequiredConfig, requireConfigFile } from "../context.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseUntrustedTls } from "../guard.ts";
import { tuneHeap } from "../heap.ts";
import { LOG_LEVELS, logLevel } from "../log-level.ts";
import { stopSignal } from "../stop-signal.ts";

export const start: CommandSpec = {
  name: "start",
  summary: "run the sidecar in the foreground",
  options: [
    CONFIG_OPTION,
    { flags: "--log-level <level>", summary: "how much it logs", choices: LOG_LEVELS },
    sameWithJson("its line holds JSON anyway"),
  ],
  examples: ["sidekey start", "sidekey start -c /etc/sidekey.yaml --log-level warn"],
  async run(invocation) {
    const { environment, terminal } = invocation;
    refuseUntrustedTls(environment);
    // Before it is read: what somebody else wrote must not even name the files that are looked at next.
    refuseExposedFile(requireConfigFile(invocation));
    const config = await loadRequiredConfig(invocation);
    refuseExposedFiles(config);
    const { createLog } = await import("../../core/process-log.ts");
    const log = createLog({ level: logLevel(invocation, config.logLevel) });
    // Before anything is open, so that a signal on the way up ends in an orderly way as well.
    const stopped = stopSignal();
    // Ready for it before anything is open too: by default HUP ends a process, and that would be an outage.
    let readAgain = (): void => {
      isAskedEarly = true;
    };
    let isAskedEarly = false;
    process.on("SIGHUP", () => readAgain());
    tuneHeap();
    const { startSidecar } = await import("../../sidecar/app/lifecycle.ts");
    const sidecar = await startSidecar({
      config,
      environment,
      log,
      mode: "start",
      watch: true,
      onReload: ({ logLevel: wanted }) => log.setLevel(logLevel(invocation, wanted)),
    });
    // What comes of it is in the log.
    readAgain = () => void sidecar.reload("signal");
    if (isAskedEarly) readAgain();
    terminal.print(`sidekey ready ${JSON.stringify(sidecar.ready)}`);
    const signal = await stopped;
    log.info("stopping", { signal });
    await sidecar.drain();
    return EXIT_OK;
  },
};
