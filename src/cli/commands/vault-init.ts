/** `vault init`: an empty store and its key, where there is none. The first `secret set` makes them as well. */
import { existsSync } from "node:fs";
import { prepareStateDirectory } from "../../core/state-directory.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { keyPlace, keyWords, locateVault, openPlace, placeExists, SOURCE_OPTION } from "../vault/access.ts";

/** Name of the one whose key `vault init` prints. */
const FIRST_OPERATOR = "operator";

export const vaultInit: CommandSpec = {
  name: "vault init",
  summary: "make an empty vault and its key; never over one that is there",
  options: [SOURCE_OPTION, CONFIG_OPTION, JSON_OPTION],
  examples: [
    "sidekey vault init",
    "sidekey vault init -c vault.yaml",
    "FERNET_SECRET_KEY=$KEY sidekey vault init --source team",
  ],
  async run(invocation) {
    const { options, terminal } = invocation;
    refuseInsideRun("vault init", invocation);
    const place = await locateVault(invocation);
    const { config, source, directory, keys } = place;
    const { storeExistsError } = await import("../../vault/index.ts");
    if (await placeExists(place)) throw storeExistsError(directory);
    prepareStateDirectory(config.state);
    const makesKey = "file" in keys && !existsSync(keys.file);
    const event = adminEvent(`vault init of ${source}`);
    const operatorKey = await onRecord(config, {
      events: [event],
      async change() {
        const vault = await openPlace(place);
        try {
          return (await vault.agents.create({ name: FIRST_OPERATOR, kind: "operator" })).key;
        } finally {
          await vault.close();
        }
      },
      done: () => [event],
    });
    if (options.flag("json")) {
      terminal.printJson({
        source,
        directory,
        key: { ...keyPlace(keys), made: makesKey },
        operator_key: operatorKey,
      });
      return EXIT_OK;
    }
    terminal.print(`vault  ${directory} (made)`);
    terminal.print(`key    ${keyWords(keys)} (${makesKey ? "made" : "was there"})`);
    terminal.print(`operator key  ${operatorKey}`);
    terminal.note(
      "the operator key is shown this once: keep it where only you can read it; 'sidekey vault serve' asks for it",
    );
    terminal.note(
      "whoever has the vault and its key can read every secret; without the key nobody can: keep a copy elsewhere",
    );
    return EXIT_OK;
  },
};
