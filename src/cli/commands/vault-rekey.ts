/** `vault rekey`: a new key for a store, while others use and change it. Cut short, the same command goes on. */
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { keyPlace, locateVault, SOURCE_OPTION, sourcesWithKey, withVault } from "../vault/access.ts";

export const vaultRekey: CommandSpec = {
  name: "vault rekey",
  summary: "seal everything with a new key and drop the old one; works while a sidecar uses the vault",
  options: [SOURCE_OPTION, CONFIG_OPTION, JSON_OPTION],
  examples: [
    "sidekey vault rekey          # the key is in a file: makes a new one, and replaces the file",
    "FERNET_SECRET_KEY=$NEW,$OLD sidekey vault rekey    # you keep the key: seals everything with the first",
  ],
  async run(invocation) {
    refuseInsideRun("vault rekey", invocation);
    const { options, terminal } = invocation;
    const { keys, source } = await locateVault(invocation);
    await refuseSharedKey(await sourcesWithKey(invocation, keys), source);
    const rekeyed = await withVault(
      invocation,
      ({ vault, config }) => {
        const event = adminEvent(`vault rekey of ${source}`);
        return onRecord(config, {
          events: [event],
          // Others may put changes on record meanwhile.
          isLong: true,
          change: () =>
            vault.rekey((done, total) => terminal.progress(`sealing with the new key: ${done} of ${total}`)),
          done: () => [event],
        }).finally(() => terminal.progress(undefined));
      },
      (place) => {
        throw new SidekeyError("CONFIG_USAGE", {
          detail: `There is no vault in ${place}, so nothing to rekey.`,
          hint: "Name its file with -c FILE, or its source with --source NAME.",
        });
      },
    );
    const { rows, resumed } = rekeyed;
    const key = keyPlace(keys);
    if (options.flag("json")) {
      terminal.printJson({ source, rows, resumed, key });
      return EXIT_OK;
    }
    terminal.print(
      `sealed ${rows === 1 ? "1 row" : `${rows} rows`} with the ${resumed ? "first of several keys" : "new key"}`,
    );
    terminal.note(
      "file" in key
        ? `the old key has left ${key.file}: backups and copies of before open with it alone, so keep it with them, if you have it`
        : `nothing needs the other keys any more: take them out of ${key.from}, and restart what opens this vault`,
    );
    return EXIT_OK;
  },
};

/** The old key leaves the file in the end, and with it the other store's only key. */
const refuseSharedKey = async (others: readonly string[], source: string): Promise<void> => {
  const [other] = others;
  if (other === undefined) return;
  throw new SidekeyError("CONFIG_USAGE", {
    detail: `The sources '${source}' and '${other}' have one key file, and a key that is dropped for one would be lost for both.`,
    hint: `Give '${other}' a copy of its own (mode 0600): sources: { ${other}: { kind: local, key: { file: ./${other}.key } } }`,
  });
};
