/** `completion`: a script that a shell reads, made from the commands themselves, so that it fits this version. */
import type { CommandSpec } from "../command.ts";
import type { CompletedProgram } from "../completion/model.ts";
import { EXIT_OK } from "../exit.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

const RENDERERS: Readonly<Record<Shell, () => Promise<(program: CompletedProgram) => string>>> = {
  bash: async () => (await import("../completion/bash.ts")).bashCompletion,
  zsh: async () => (await import("../completion/zsh.ts")).zshCompletion,
  fish: async () => (await import("../completion/fish.ts")).fishCompletion,
};

export const completion: CommandSpec = {
  name: "completion",
  summary: "print what a shell needs to complete sidekey's command lines",
  parameters: [{ syntax: "<shell>", summary: "bash, zsh or fish", choices: SHELLS }],
  examples: [
    "source <(sidekey completion bash)                                  # this bash; in ~/.bashrc every one",
    "source <(sidekey completion zsh)                                   # in ~/.zshrc, after compinit",
    "sidekey completion fish > ~/.config/fish/completions/sidekey.fish",
  ],
  async run({ commands, groups, parameters, terminal }) {
    const { completedProgram } = await import("../completion/model.ts");
    const render = await RENDERERS[parameters[0] as Shell]();
    terminal.print(render(completedProgram(commands, groups)).trimEnd());
    return EXIT_OK;
  },
};
