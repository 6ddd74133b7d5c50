/** `secret get`: the only command that prints a value, and only with --reveal. */
import { isUtf8 } from "node:buffer";
import { SidekeyError } from "../../core/errors.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION, type Options } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { suggestingPath } from "../vault/nearest-secret.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

const LF = 0x0a;

export const secretGet: CommandSpec = {
  name: "secret get",
  summary: "print a secret's value; needs --reveal",
  parameters: [{ syntax: "<path>", summary: "path of the secret" }],
  options: [
    { flags: "--reveal", summary: "yes, print the value" },
    { flags: "--version <n>", summary: "an older version (default: the newest)" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: ["sidekey secret get production/openai/api-key --reveal"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("secret get", invocation);
    const [path = ""] = parameters;
    if (!options.flag("reveal")) {
      throw new SidekeyError("CONFIG_USAGE", {
        detail: "Printing a value needs --reveal.",
        hint: `sidekey secret get ${path} --reveal prints it; sidekey secret list shows what there is without values.`,
      });
    }
    const version = parseVersion(options);
    const { checkSecretPath } = await import("../../vault/secrets/path.ts");
    checkSecretPath(path);
    const found = asksServer(invocation)
      ? await withServer("secret get", invocation, (vault) =>
          vault.getSecretRecord(path, version === undefined ? {} : { version }),
        )
      : await withVault(
          invocation,
          ({ vault }) => suggestingPath(vault, path, () => vault.secrets.get(path, version)),
          (directory) => {
            throw new SidekeyError("VAULT_SECRET_MISSING", {
              detail: `${path}: there is no vault in ${directory} yet.`,
              hint: `Store it: printf %s "$KEY" | sidekey secret set ${path}`,
            });
          },
        );
    found.value.lend((bytes) => {
      if (options.flag("json")) terminal.printJson({ path, version: found.version, ...jsonValue(bytes) });
      // What 'secret set' cut off; several lines were stored with the end of the last.
      else terminal.printBytes(bytes.at(-1) === LF ? bytes : Buffer.concat([bytes, Buffer.of(LF)]));
    });
    return EXIT_OK;
  },
};

const parseVersion = (options: Options): number | undefined => {
  const text = options.text("version");
  if (text === undefined) return undefined;
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new SidekeyError("CONFIG_USAGE", { detail: "--version takes a whole number from 1." });
};

/** JSON holds text only; what is none is given in base64, and says so. */
const jsonValue = (bytes: Buffer): Readonly<Record<string, string>> =>
  isUtf8(bytes) ? { value: bytes.toString("utf8") } : { value: bytes.toString("base64"), encoding: "base64" };
