/** `secret set`: the value comes from standard input or a hidden prompt, never from an argument. */
import { SidekeyError } from "../../core/errors.ts";
import { SecretValue } from "../../core/secret-value.ts";
import { onRecord, operatorName, secretEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

export const secretSet: CommandSpec = {
  name: "secret set",
  summary: "store a secret, or a new version of it; its value comes from standard input or a hidden prompt",
  parameters: [{ syntax: "<path>", summary: "two or more segments: production/openai/api-key" }],
  options: [
    { flags: "--host <host>", summary: "bind it to this host; may be repeated", repeat: true },
    { flags: "--type <type>", summary: "a word on what it is" },
    { flags: "--tier <tier>", summary: "a word on how sensitive it is" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [
    `printf %s "$KEY" | sidekey secret set production/openai/api-key`,
    "sidekey secret set production/openai/api-key --host api.openai.com",
    `printf %s "$KEY" | sidekey secret set production/openai/api-key --vault https://vault.internal:7200`,
  ],
  excess: true,
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("secret set", invocation);
    const [path = "", ...rest] = parameters;
    if (rest.length > 0) throw valueInArgument(path);
    const { checkSecretPath } = await import("../../vault/secrets/path.ts");
    const { checkSecretValue } = await import("../../vault/secrets/value.ts");
    checkSecretPath(path);
    const value = new SecretValue(await terminal.readSecret(`Value of ${path} (not shown)`));
    const type = options.text("type");
    refuseUntypedLines(value, type);
    checkSecretValue(value, type);
    const hosts = options.list("host");
    const tier = options.text("tier");
    const traits = {
      ...(hosts.length > 0 && { hosts }),
      ...(type !== undefined && { type }),
      ...(tier !== undefined && { tier }),
    };
    const stored = asksServer(invocation)
      ? await withServer("secret set", invocation, (vault) => vault.setSecret(path, value, traits))
      : await withVault(invocation, ({ vault, config, source }) =>
          onRecord(config, {
            events: [secretEvent("set", source, path)],
            change: () => vault.secrets.set(path, value, { by: operatorName(), ...traits }),
            done: ({ version }) => [secretEvent("set", source, path, version)],
          }),
        );
    const { hosts: bound = [] } = stored;
    if (options.flag("json")) {
      terminal.printJson({ path: stored.path, version: stored.version, hosts: bound });
    } else {
      const only = bound.length === 0 ? "" : `, only for ${bound.join(", ")}`;
      terminal.print(`stored ${stored.path} version ${stored.version}${only}`);
    }
    return EXIT_OK;
  },
};

/** A private key that was piped in as it should be, by somebody who cannot know that its type decides. */
const refuseUntypedLines = (value: SecretValue, type: string | undefined): void => {
  if (type !== undefined || !value.lend((bytes) => bytes.includes("\n"))) return;
  throw new SidekeyError("VAULT_BAD_VALUE", {
    detail: "The value has several lines, so it can never stand in a header; nothing was stored.",
    hint: "For a private key or a certificate say so: --type ssh_key, --type certificate, or --type custom.",
  });
};

const valueInArgument = (path: string): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", {
    detail: "A value is never taken from an argument; nothing was stored.",
    hint: [
      `printf %s "$KEY" | sidekey secret set ${path}`,
      "If that argument was a real key: it was in the process list and may be in your shell's history; remove it there.",
    ].join("\n"),
  });
