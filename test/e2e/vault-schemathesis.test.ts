/** The vault's API against its own document: Schemathesis makes requests from it, right ones and wrong ones, and judges the answers. */
import { execFile, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { expect, it } from "vitest";
import { cleanEnvironment, finished, launch } from "../support/program.ts";
import { createWorkspace } from "../support/workspace.ts";

const hasSchemathesis = spawnSync("schemathesis", ["--version"], { stdio: "ignore" }).status === 0;
/** With SIDEKEY_TEST_ALL=1 it has to be there. */
const isSkipped = !hasSchemathesis && process.env["SIDEKEY_TEST_ALL"] !== "1";
const CHECKS = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_schema_conformance",
];
/**
 * What can't be read here is not stored: one call's references would be found by another, since all take the document's
 * example of a path, and its answer is a 502 that test/integration/vault-api-secrets holds. Others are sent as they come.
 */
const HOOKS = `import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("reference"), dict):
        case.body = {**{name: part for name, part in body.items() if name != "reference"}, "value": "a-value"}
`;
/** A stream that never ends, and an operator that takes itself back. */
const LEFT_OUT = ["streamEvents", "revokeAgent"];

it.skipIf(isSkipped)(
  `answers as its document says, with nothing of 500${isSkipped ? " (skipped: schemathesis is not installed)" : ""}`,
  async () => {
    const work = createWorkspace();
    try {
      work.write("vault.yaml", "version: 1\nlisten: 127.0.0.1:0\n");
      work.write("hooks.py", HOOKS);
      const { operator_key: key } = JSON.parse((await work.sidekey(["vault", "init", "--json"])).stdout);
      const child = launch(["vault", "serve"], { cwd: work.path });
      const end = finished(child);
      if (child.stdout === null) throw new Error("no standard output");
      const lines = createInterface({ input: child.stdout });
      const url = await new Promise<string>((resolve) =>
        lines.once("line", (line) => resolve(JSON.parse(line.replace("sidekey vault ready ", "")).address)),
      );
      const options = [
        ["--header", `Authorization: Bearer ${key}`],
        ["--checks", CHECKS.join(",")],
        ["--phases", "examples,coverage,fuzzing"],
        ["--max-examples", "10"],
        ...LEFT_OUT.map((name) => ["--exclude-operation-id", name]),
        ["--generation-deterministic"],
        ["--no-color"],
      ].flat();
      const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
        const env = { ...cleanEnvironment(), PYTHONDONTWRITEBYTECODE: "1", SCHEMATHESIS_HOOKS: "hooks.py" };
        const run = { cwd: work.path, env, timeout: 240_000, maxBuffer: 64 * 1024 * 1024 };
        execFile("schemathesis", ["run", `${url}/v1/openapi.json`, ...options], run, (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr }),
        );
      });
      child.kill("SIGTERM");
      const { stderr } = await end;
      expect(output.slice(-20_000)).toMatch(/Test cases:\s+\d{3,} generated/);
      expect([code, output.match(/^- ST\d+ .*$/gm) ?? []]).toEqual([0, []]);
      expect(stderr).not.toContain('"level":50');
      expect(stderr).not.toContain('"msg":"a call was refused"');
    } finally {
      work.remove();
    }
  },
  300_000,
);
