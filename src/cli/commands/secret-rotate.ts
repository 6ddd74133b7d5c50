/** `secret rotate`: a new value for a secret that is there, and an end to the old ones. */
import { SidekeyError } from "../../core/errors.ts";
import { SecretValue } from "../../core/secret-value.ts";
import { onRecord, operatorName, secretEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION, type Options } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { suggestingPath } from "../vault/nearest-secret.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const secretRotate: CommandSpec = {
  name: "secret rotate",
  summary: "give a secret a new value and close its older versions; the value comes as with 'secret set'",
  parameters: [{ syntax: "<path>", summary: "path of a secret that exists" }],
  options: [
    { flags: "--grace <duration>", summary: "how long older versions stay readable by @VERSION (default: not at all)" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [`printf %s "$NEW" | sidekey secret rotate production/openai/api-key --grace 10m`],
  excess: true,
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("secret rotate", invocation);
    const [path = "", ...rest] = parameters;
    if (rest.length > 0) {
      throw new SidekeyError("CONFIG_USAGE", {
        detail: "A value is never taken from an argument; nothing was changed.",
        hint: `printf %s "$NEW" | sidekey secret rotate ${path}`,
      });
    }
    const graceMs = await parseGrace(options);
    const { checkSecretPath } = await import("../../vault/secrets/path.ts");
    const { checkSecretValue } = await import("../../vault/secrets/value.ts");
    checkSecretPath(path);
    const value = new SecretValue(await terminal.readSecret(`New value of ${path} (not shown)`));
    // What no type of secret may hold; the vault knows of which type this one is.
    checkSecretValue(value, "custom");
    const stored = asksServer(invocation)
      ? await withServer("secret rotate", invocation, (vault) =>
          vault.rotateSecret(path, value, { graceSeconds: Math.ceil(graceMs / 1000) }),
        )
      : await withVault(
          invocation,
          ({ vault, config, source }) =>
            onRecord(config, {
              events: [secretEvent("rotate", source, path)],
              change: () =>
                suggestingPath(vault, path, () => vault.secrets.rotate(path, value, { graceMs, by: operatorName() })),
              done: ({ version }) => [secretEvent("rotate", source, path, version)],
            }),
          (directory) => {
            throw new SidekeyError("VAULT_SECRET_MISSING", {
              detail: `${path}: there is no vault in ${directory} yet.`,
              hint: `Store it first: printf %s "$KEY" | sidekey secret set ${path}`,
            });
          },
        );
    const until = new Date((stored.updatedAt ?? Date.now()) + graceMs).toISOString();
    if (options.flag("json")) {
      terminal.printJson({ path, version: stored.version, previous_readable_until: until });
    } else {
      const old =
        graceMs === 0 ? "older versions are closed" : `older versions stay readable by @VERSION until ${until}`;
      terminal.print(`rotated ${path} to version ${stored.version}; ${old}`);
    }
    return EXIT_OK;
  },
};

const parseGrace = async (options: Options): Promise<number> => {
  const text = options.text("grace");
  if (text === undefined) return 0;
  const { parseDuration } = await import("../../core/units.ts");
  const grace = parseDuration(text);
  if (grace !== undefined && grace <= MAX_GRACE_MS) return grace;
  throw new SidekeyError("CONFIG_USAGE", { detail: "--grace takes a duration up to 365d, such as 10m or 24h." });
};

const MAX_GRACE_MS = 365 * 24 * 60 * 60 * 1000;
