/** `secret rm`: removes a secret with all its versions. */
import { SidekeyError } from "../../core/errors.ts";
import { onRecord, secretEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { suggestingPath } from "../vault/nearest-secret.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const secretRm: CommandSpec = {
  name: "secret rm",
  summary: "remove a secret with all its versions",
  parameters: [{ syntax: "<path>", summary: "path of the secret" }],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey secret rm production/openai/api-key"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("secret rm", invocation);
    const [path = ""] = parameters;
    const { checkSecretPath } = await import("../../vault/secrets/path.ts");
    checkSecretPath(path);
    if (asksServer(invocation)) await withServer("secret rm", invocation, (vault) => vault.deleteSecret(path));
    else {
      await withVault(
        invocation,
        ({ vault, config, source }) =>
          onRecord(config, {
            events: [secretEvent("rm", source, path)],
            change: () => suggestingPath(vault, path, () => vault.secrets.remove(path)),
            done: () => [secretEvent("rm", source, path)],
          }),
        () => {
          throw new SidekeyError("VAULT_SECRET_MISSING", { detail: path });
        },
      );
    }
    if (options.flag("json")) terminal.printJson({ path, removed: true });
    else terminal.print(`removed ${path}`);
    return EXIT_OK;
  },
};
