/** `secret list`: what there is, never a value. */
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { table } from "../table.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const secretList: CommandSpec = {
  name: "secret list",
  summary: "list the secrets, never their values",
  parameters: [{ syntax: "[prefix]", summary: "only paths that start so" }],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey secret list", "sidekey secret list production/"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    const [prefix = ""] = parameters;
    const secrets = asksServer(invocation)
      ? await withServer("secret list", invocation, async (vault) =>
          (await vault.listSecrets()).filter(({ path }) => path.startsWith(prefix)),
        )
      : await withVault(
          invocation,
          ({ vault }) => vault.secrets.list(prefix),
          () => [],
        );
    if (options.flag("json")) {
      terminal.printJson(
        secrets.map(({ path, version, type, tier, hosts = [], createdAt, updatedAt }) => ({
          path,
          version,
          type,
          tier,
          hosts,
          ...(createdAt !== undefined && { created_at: new Date(createdAt).toISOString() }),
          ...(updatedAt !== undefined && { updated_at: new Date(updatedAt).toISOString() }),
        })),
      );
    } else if (secrets.length === 0) {
      terminal.note("no secrets yet; store one with: sidekey secret set PATH");
    } else {
      const rows = secrets.map(({ path, version, hosts = [], updatedAt }) => [
        path,
        String(version),
        hosts.length === 0 ? "any" : hosts.join(","),
        updatedAt === undefined ? "-" : new Date(updatedAt).toISOString(),
      ]);
      terminal.print(table(["PATH", "VERSION", "HOSTS", "UPDATED"], rows));
    }
    return EXIT_OK;
  },
};
