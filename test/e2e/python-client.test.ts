/** The Python client's own suite and its types, with the interpreter of the PATH. */
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { cleanEnvironment, finished } from "../support/program.ts";
import { startBuiltVault } from "../support/vault/built-vault.ts";

/** With SIDEKEY_TEST_ALL=1 a package that is missing is a failure. */
const all = process.env["SIDEKEY_TEST_ALL"] === "1";
const folder = join(import.meta.dirname, "../../clients/python");

const python = (...args: string[]) =>
  spawnSync("python3", args, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, PYTHONPATH: "src", PYTHONDONTWRITEBYTECODE: "1" },
  });

const lacks = (name: string): boolean => !all && python("-c", `import ${name}`).status !== 0;
const note = (isMissing: boolean, name: string): string => (isMissing ? ` (skipped: Python has no ${name})` : "");

describe("the Python client", () => {
  const noHttpx = lacks("httpx");
  it.skipIf(noHttpx)(`passes its suite${note(noHttpx, "httpx")}`, () => {
    const { status, stderr } = python("-m", "unittest", "discover", "-s", "tests", "-t", ".");
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/\nRan [1-9][0-9]* tests in .*\n\nOK\n$/),
    });
  });

  const noMypy = noHttpx || lacks("mypy");
  it.skipIf(noMypy)(
    `has types that mypy holds to its strictest${note(noMypy, "mypy")}`,
    () => {
      const { status, stdout } = python("-m", "mypy", "--no-incremental", "--cache-dir", "/dev/null");
      expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringContaining("Success: no issues found") });
    },
    180_000,
  );

  it.skipIf(noHttpx)(
    `makes every call of a real vault${note(noHttpx, "httpx")}`,
    async () => {
      const vault = await startBuiltVault();
      try {
        const { api_key: key } = await vault.must("POST", "/v1/agents", {
          name: "python",
          allowed_scopes: ["secrets:*:staging/*"],
        });
        const child = spawn("python3", [join(import.meta.dirname, "clients/python/with_agentsecretstore.py")], {
          env: cleanEnvironment({
            ASS_AGENT_KEY: String(key),
            ASS_API_URL: vault.address,
            OPERATOR_KEY: vault.operatorKey,
            PYTHONPATH: join(folder, "src"),
            PYTHONDONTWRITEBYTECODE: "1",
          }),
        });
        expect(await finished(child)).toEqual({ code: 0, stderr: "", stdout: EVERY_CALL });
      } finally {
        await vault.close();
      }
    },
    120_000,
  );
});

const EVERY_CALL = `health ok
set staging/tavily/api-key 1 api_key
get True True
rotate 2
version tvly-one tvly-two
list [('api-key', 2)]
import ('A', 'B')
token secrets:read:staging/tavily/api-key tvly-two
spent UNAUTHORIZED
revoked UNAUTHORIZED
revoked itself UNAUTHORIZED
deleted SECRET_NOT_FOUND
scope SCOPE_DENIED
audit True True
unknown UNAUTHORIZED
`;
