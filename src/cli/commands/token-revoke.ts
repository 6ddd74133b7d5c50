/** `token revoke`: by the id that `token list` shows, or by the token itself on standard input. */
import { SidekeyError } from "../../core/errors.ts";
import { onRecord, tokenEvent } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, type VaultUse, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";
import { claimedId, readTokenFromInput } from "../vault/token-input.ts";

export const tokenRevoke: CommandSpec = {
  name: "token revoke",
  summary: "revoke a token; it acts on the next request that would use it",
  parameters: [{ syntax: "[id]", summary: "its id, as 'token list' shows it; else the token comes on standard input" }],
  options: [SOURCE_OPTION, ...SERVER_OPTIONS, CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey token revoke 5f0c9f6e-6d0e-4a51-9d0c-2f4d6a3f7f10", "sidekey token revoke < agent.token"],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("token revoke", invocation);
    const [named] = parameters;
    const given = named === undefined || named === "-" ? await readTokenFromInput(invocation, "token revoke") : named;
    if (named === given && given.includes(".")) throw tokenInArgument();
    const id = asksServer(invocation)
      ? await withServer("token revoke", invocation, async (vault) => {
          const named = given.includes(".") ? claimedId(given) : given;
          await vault.revoke(named);
          return named;
        })
      : await withVault(
          invocation,
          (opened) => revoke(opened, given),
          (directory) => {
            throw new SidekeyError("IDENTITY_TOKEN_INVALID", { detail: `There is no vault in ${directory} yet.` });
          },
        );
    if (options.flag("json")) terminal.printJson({ id, revoked: true });
    else terminal.print(`revoked ${id}`);
    return EXIT_OK;
  },
};

const revoke = async ({ vault, config }: VaultUse, given: string): Promise<string> => {
  const id = given.includes(".") ? (await vault.tokens.inspect(given)).id : given;
  const agent = (await vault.tokens.list()).find((token) => token.id === id)?.agent;
  await onRecord(config, {
    events: [tokenEvent("revoke", agent, auditName(id))],
    change: () => vault.tokens.revoke(id),
    done: () => [tokenEvent("revoke", agent, id)],
  });
  return id;
};

/** What somebody typed in place of an id may be anything, also a secret. */
const auditName = (id: string): string => (/^[0-9a-f-]{36}$/.test(id) ? id : "of an unknown id");

const tokenInArgument = (): SidekeyError =>
  new SidekeyError("CONFIG_USAGE", {
    detail: "That is a token, not its id; nothing was revoked.",
    hint: "An argument is seen by others. Give the token on standard input (sidekey token revoke < FILE), or its id.",
  });
