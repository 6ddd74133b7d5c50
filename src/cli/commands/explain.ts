/** `explain`: what would become of a request, by the file alone. Reads no secret and opens nothing. */
import { SidekeyError } from "../../core/errors.ts";
import type { Explanation } from "../../sidecar/app/explain.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadRequiredConfig } from "../context.ts";
import { EXIT_OK } from "../exit.ts";

export const explain: CommandSpec = {
  name: "explain",
  summary: "say which route a request would take, what it would be sent with, or why it is denied",
  parameters: [
    { syntax: "<method>", summary: "such as GET" },
    { syntax: "<url>", summary: "whole, such as https://api.openai.com/v1/models" },
  ],
  options: [
    { flags: "--agent <name>", summary: "the agent that asks (default: the file's)" },
    CONFIG_OPTION,
    JSON_OPTION,
  ],
  examples: [
    "sidekey explain GET https://api.openai.com/v1/models",
    "sidekey explain DELETE https://api.x.com/v1 --json",
  ],
  async run(invocation) {
    const { options, parameters, terminal } = invocation;
    const [method = "", url = ""] = parameters;
    const config = await loadRequiredConfig(invocation);
    const agent = options.text("agent");
    if (agent !== undefined && agent !== config.agent) {
      throw new SidekeyError("CONFIG_USAGE", {
        detail: `This file has one agent, '${config.agent}'.`,
        hint: "Leave --agent out.",
      });
    }
    const { createExplainer } = await import("../../sidecar/app/explain.ts");
    const explanation = createExplainer(config)(method, url);
    if (options.flag("json")) terminal.printJson(explanation);
    else terminal.print(describe(explanation).join("\n"));
    return EXIT_OK;
  },
};

const describe = (explanation: Explanation): readonly string[] => {
  const { decision, route, preset, pattern, secret, inject = [], removed = [], code, reason } = explanation;
  const line = (name: string, text: string | undefined): readonly string[] =>
    text === undefined || text === "" ? [] : [`${name.padEnd(9)} ${text}`];
  return [
    ...line(decision, code ?? (route === undefined ? "" : `by route ${route}`)),
    ...(code === undefined ? [] : line("route", route)),
    ...line("preset", preset),
    ...line("pattern", pattern),
    ...line("secret", secret),
    ...line(
      "sends",
      inject
        .map(({ kind, where, placeholder, secret: own }) => {
          const details = [kind, placeholder, own].filter((text) => text !== undefined);
          return `${where} (${details.join(", ")})`;
        })
        .join(", "),
    ),
    ...line("removes", removed.length === 0 ? "" : `the agent's own ${removed.join(", ")}, however it is spelt`),
    ...line("because", reason),
  ];
};
