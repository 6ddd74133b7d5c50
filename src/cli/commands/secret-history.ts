/** `secret history`: the versions of a secret, when and by whom they were written, never a value. */
import { SidekeyError } from "../../core/errors.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { table } from "../table.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { suggestingPath } from "../vault/nearest-secret.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const secretHistory: CommandSpec = {
  name: "secret history",
  summary: "list a secret's versions, when and by whom they were written, never their values",
  parameters: [{ syntax: "<path>", summary: "path of the secret" }],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey secret history production/openai/api-key"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    const [path = ""] = parameters;
    const { checkSecretPath } = await import("../../vault/secrets/path.ts");
    checkSecretPath(path);
    const versions = asksServer(invocation)
      ? await withServer("secret history", invocation, (vault) => vault.history(path))
      : await withVault(
          invocation,
          ({ vault }) => suggestingPath(vault, path, () => vault.secrets.history(path)),
          (directory) => {
            throw new SidekeyError("VAULT_SECRET_MISSING", {
              detail: `${path}: there is no vault in ${directory} yet.`,
            });
          },
        );
    if (options.flag("json")) {
      terminal.printJson(
        versions.map(({ version, createdAt, by, readableUntil }) => ({
          version,
          created_at: new Date(createdAt).toISOString(),
          ...(by !== undefined && { by }),
          ...(readableUntil !== undefined && { readable_until: new Date(readableUntil).toISOString() }),
        })),
      );
    } else {
      const rows = versions.map(({ version, createdAt, by = "-", readableUntil }) => [
        String(version),
        new Date(createdAt).toISOString(),
        by,
        readableUntil === undefined ? "yes" : `until ${new Date(readableUntil).toISOString()}`,
      ]);
      terminal.print(table(["VERSION", "WRITTEN", "BY", "READABLE"], rows));
    }
    return EXIT_OK;
  },
};
