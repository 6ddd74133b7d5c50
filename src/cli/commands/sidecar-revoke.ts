/** `sidecar revoke`: an end to a sidecar's key at a vault. It stays revoked: the same key cannot be enrolled again. */
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

/** An id, or an RFC 7638 thumbprint. What a vault's row never has is not looked for, nor put on record. */
const FORM = /^[A-Za-z0-9_-]{1,64}$/;

export const sidecarRevoke: CommandSpec = {
  name: "sidecar revoke",
  summary: "revoke a sidecar's key; from its next request on it redeems nothing",
  parameters: [
    { syntax: "<sidecar>", summary: "its id, or its thumbprint for every agent, as 'sidecar list' shows them" },
  ],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey sidecar revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("sidecar revoke", invocation);
    const [sidecar = ""] = parameters;
    if (!FORM.test(sidecar) || /^(?:ast_agent_|ask_op_)/.test(sidecar)) {
      throw new SidekeyError("CONFIG_USAGE", {
        detail: "That is neither the id nor the thumbprint of a sidecar; nothing was revoked.",
        hint: "sidekey sidecar list shows both.",
      });
    }
    if (asksServer(invocation)) {
      await withServer("sidecar revoke", invocation, (vault) => vault.sidecars.revoke(sidecar));
    } else {
      await withVault(
        invocation,
        async ({ vault, config }) => {
          const known = (await vault.sidecars.list()).some(({ id, jkt }) => id === sidecar || jkt === sidecar);
          const event = adminEvent(`sidecar revoke ${known ? sidecar : "of an unknown one"}`);
          await onRecord(config, {
            events: [event],
            change: () => vault.sidecars.revoke(sidecar),
            done: () => [event],
          });
        },
        (directory) => {
          throw new SidekeyError("IDENTITY_SIDECAR_UNKNOWN", { detail: `There is no vault in ${directory} yet.` });
        },
      );
    }
    if (options.flag("json")) terminal.printJson({ sidecar, revoked: true });
    else terminal.print(`revoked ${sidecar}`);
    return EXIT_OK;
  },
};
