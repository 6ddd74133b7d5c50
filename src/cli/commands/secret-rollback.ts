/** `secret rollback`: the value of an older version, as a new one. */
import { SidekeyError } from "../../core/errors.ts";
import { onRecord, operatorName, secretEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { suggestingPath } from "../vault/nearest-secret.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const secretRollback: CommandSpec = {
  name: "secret rollback",
  summary: "give a secret the value of an older version again, as a new version",
  parameters: [
    { syntax: "<path>", summary: "path of the secret" },
    { syntax: "<version>", summary: "the older version, as 'secret history' shows it" },
  ],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey secret rollback production/openai/api-key 3"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("secret rollback", invocation);
    const [path = "", text = ""] = parameters;
    if (!/^[1-9][0-9]{0,8}$/.test(text)) {
      throw new SidekeyError("CONFIG_USAGE", { detail: "The version is a whole number from 1." });
    }
    const version = Number(text);
    const { checkSecretPath } = await import("../../vault/secrets/path.ts");
    checkSecretPath(path);
    const stored = asksServer(invocation)
      ? await withServer("secret rollback", invocation, (vault) => vault.rollback(path, version))
      : await withVault(
          invocation,
          ({ vault, config, source }) =>
            onRecord(config, {
              events: [secretEvent("rollback", source, path)],
              change: () =>
                suggestingPath(vault, path, () => vault.secrets.rollback(path, version, { by: operatorName() })),
              done: (done) => [secretEvent("rollback", source, path, done.version)],
            }),
          (directory) => {
            throw new SidekeyError("VAULT_SECRET_MISSING", {
              detail: `${path}: there is no vault in ${directory} yet.`,
            });
          },
        );
    if (options.flag("json")) terminal.printJson({ path, version: stored.version, from: version });
    else terminal.print(`${path} is at version ${stored.version}, with the value of version ${version}`);
    return EXIT_OK;
  },
};
