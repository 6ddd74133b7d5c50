/** `reload`: tells the sidecar of a file to read it again, and says what came of it. */
import { formatProblem, type Problem } from "../../config/problem.ts";
import { SidekeyError } from "../../core/errors.ts";
import type { ReloadAnswer } from "../../sidecar/admin/report.ts";
import { askSidecar } from "../admin-client.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";
import { refuseInsideRun } from "../inside-run.ts";

export const reload: CommandSpec = {
  name: "reload",
  summary: "have the running sidecar read its file again",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey reload", "sidekey reload -c /etc/sidekey.yaml --json"],
  async run(invocation) {
    refuseInsideRun("reload", invocation);
    const { options, terminal } = invocation;
    const { body } = await askSidecar(invocation, "POST", "/reload");
    const answer = body as ReloadAnswer | { readonly error: unknown };
    if ("error" in answer) throw new SidekeyError("INTERNAL", { detail: "See the sidecar's log." });
    const isDone = "generation" in answer;
    if (options.flag("json")) terminal.printJson(answer);
    else if (isDone) terminal.print(`generation ${answer.generation}`);
    else tellProblems(answer.problems, (text) => terminal.printError(text));
    if (!isDone) terminal.note("the file was not accepted; what was there before goes on");
    return isDone ? EXIT_OK : EXIT_FAILED;
  },
};

const tellProblems = (problems: readonly Problem[], tell: (text: string) => void): void => {
  for (const problem of problems) tell(formatProblem(problem));
};
