/** `agent create`: prints the new agent's key, once and alone, on standard output. */
import type { AgentRequest } from "../../client/index.ts";
import { SidekeyError } from "../../core/errors.ts";
import { adminEvent, onRecord } from "../audit/operator.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION, type Options } from "../command.ts";
import { EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";
import { SOURCE_OPTION, withVault } from "../vault/access.ts";
import { asksServer, SERVER_OPTIONS, withServer } from "../vault/server.ts";

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const READS = ["value", "placeholder"] as const;

export const agentCreate: CommandSpec = {
  name: "agent create",
  summary: "make an agent, or another operator, and print its key, which is shown this once",
  parameters: [{ syntax: "<name>", summary: "1 to 64 letters, digits, '.', '_' or '-'" }],
  options: [
    { flags: "--operator", summary: "it manages the vault and has every secret in it" },
    {
      flags: "--scope <scope>",
      summary: "secrets:ACTION:GLOB that its tokens may have; may be repeated",
      repeat: true,
    },
    { flags: "--namespace <namespace>", summary: "where its secrets are; may be repeated", repeat: true },
    { flags: "--reads <what>", summary: "what a plain read answers to its tokens", choices: READS },
    { flags: "--place <place>", summary: "organization[/team[/workspace]], from which names are looked for" },
    { flags: "--description <text>", summary: "one line on what it is for" },
    SOURCE_OPTION,
    ...SERVER_OPTIONS,
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [
    "sidekey agent create research --scope 'secrets:use:production/openai/*' > research.key",
    "sidekey agent create anna --operator --vault https://vault.internal:7200 --key-file operator.key",
  ],
  async run(invocation) {
    const { parameters, options, terminal } = invocation;
    refuseInsideRun("agent create", invocation);
    const request = await readRequest(parameters[0] ?? "", options);
    const made = asksServer(invocation)
      ? await withServer("agent create", invocation, async (vault) => {
          const { agent, key } = await vault.agents.create(request);
          return { id: agent.id, key };
        })
      : await createHere(invocation, request);
    if (options.flag("json")) terminal.printJson({ id: made.id, name: request.name, api_key: made.key });
    else {
      terminal.print(made.key);
      terminal.note("the key is shown this once: keep it where only its owner can read it");
    }
    return EXIT_OK;
  },
};

const createHere: (
  invocation: Parameters<CommandSpec["run"]>[0],
  request: AgentRequest,
) => Promise<{ readonly id: string; readonly key: string }> = async (invocation, request) => {
  const { name, operator, scopes = [], ...rest } = request;
  const { parseScope } = await import("../../identity/scope.ts");
  const { info, key } = await withVault(invocation, ({ vault, config }) =>
    onRecord(config, {
      events: [adminEvent(`agent create ${name}`)],
      change: () =>
        vault.agents.create({
          ...rest,
          name,
          kind: operator === true ? "operator" : "agent",
          scopes: scopes.map(parseScope),
        }),
      done: () => [adminEvent(`agent create ${name}`)],
    }),
  );
  return { id: info.id, key };
};

/** Errors: CONFIG_USAGE, IDENTITY_BAD_SCOPE. */
const readRequest = async (name: string, options: Options): Promise<AgentRequest> => {
  const operator = options.flag("operator");
  const scopes = options.list("scope");
  const namespaces = options.list("namespace");
  const reads = READS.find((known) => known === options.text("reads"));
  const place = options.text("place");
  const description = options.text("description");
  if (!NAME.test(name)) throw usage("A name is 1 to 64 letters, digits, '.', '_' or '-'.");
  if (operator && scopes.length > 0) throw usage("An operator has every scope; leave --scope out.");
  if (!operator && scopes.length === 0) throw usage("Say what its tokens may have: --scope 'secrets:use:PATH'.");
  const { parseScope } = await import("../../identity/scope.ts");
  scopes.map(parseScope);
  return {
    name,
    ...(operator ? { operator } : { scopes }),
    ...(namespaces.length > 0 && { namespaces }),
    ...(reads !== undefined && { reads }),
    ...(place !== undefined && { place }),
    ...(description !== undefined && { description }),
  };
};

const usage = (detail: string): SidekeyError => new SidekeyError("CONFIG_USAGE", { detail });
