/** `test`: the file's own `tests:`, so that a change of routes that opens or closes something is seen before it serves. */
import type { Explanation } from "../../sidecar/app/explain.ts";
import { CONFIG_OPTION, type CommandSpec, JSON_OPTION } from "../command.ts";
import { loadRequiredConfig } from "../context.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit.ts";

export const test: CommandSpec = {
  name: "test",
  summary: "run the tests that the file holds: which route each request takes",
  options: [CONFIG_OPTION, JSON_OPTION],
  examples: ["sidekey test", "sidekey test -c work.yaml --json"],
  async run(invocation) {
    const { options, terminal } = invocation;
    const config = await loadRequiredConfig(invocation);
    const { createExplainer } = await import("../../sidecar/app/explain.ts");
    const explain = createExplainer(config);
    const results = config.tests.map(({ request: { method, url }, expect }) => {
      const explanation = explain(method, url);
      const got = outcomeOf(explanation);
      const { code, reason } = explanation;
      return {
        request: `${method} ${url}`,
        expect,
        got,
        ok: got === expect,
        ...(code !== undefined && { code }),
        reason,
      };
    });
    const failed = results.filter(({ ok }) => !ok);
    if (options.flag("json")) terminal.printJson({ ok: failed.length === 0, tests: results });
    else {
      for (const { request, expect, got, code, reason } of failed) {
        terminal.print(
          `failed: ${request}\n  expected ${expect}, got ${got}${code === undefined ? "" : ` (${code})`}: ${reason}`,
        );
      }
      if (results.length === 0) terminal.print(`${config.file} holds no tests`);
      else terminal.print(`${results.length - failed.length} passed, ${failed.length} failed`);
    }
    return failed.length === 0 ? EXIT_OK : EXIT_FAILED;
  },
};

/** As `expect` says it. */
const outcomeOf = ({ decision, route }: Explanation): string => (decision === "inject" ? (route ?? "") : decision);
