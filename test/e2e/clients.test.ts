/** Real clients under `sidekey run`: the upstream gets the key, and the client holds it nowhere. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { API_URL, type Api, CANARY, CANARY_FORMS, createApi } from "../support/api.ts";
import type { Finished } from "../support/program.ts";

const has = (program: string, ...args: string[]): boolean => {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};
/** With SIDEKEY_TEST_ALL=1 a client that is missing is a failure. */
const all = process.env["SIDEKEY_TEST_ALL"] === "1";
const noCurl = !all && !has("curl", "--version");
const noRequests = !all && !has("python3", "-c", "import requests");

let api: Api;
let before = 0;
beforeAll(async () => {
  api = await createApi((request, response, received) => {
    // An upstream that tells its caller what it was sent: the worst kind.
    response.setHeader("x-echo", received.header("authorization").join());
    response.setHeader("content-type", "application/json");
    const body = JSON.stringify({ echo: request.headers.authorization, models: ["one"] });
    // It packs what it can, as most do.
    if (request.headers["accept-encoding"]?.includes("br") === true) {
      response.setHeader("content-encoding", "br");
      response.end(brotliCompressSync(body));
    } else response.end(body);
  });
});
afterAll(() => api.close());
beforeEach(() => {
  before = api.upstream.requests.length;
});

/** Everything a client can look at: its environment, the one the kernel keeps, its arguments. */
const LOOK = "env; tr '\\0' '\\n' < /proc/self/environ; tr '\\0' '\\n' < /proc/$$/cmdline";
const run = (script: string): Promise<Finished> => {
  const environment = { API_KEY: CANARY, SOME_OTHER: `prefix ${CANARY}` };
  return api.work.sidekey(["run", "--", "sh", "-c", `${LOOK}; ${script}`], { environment });
};

const expectKeyOnlyUpstream = ({ code, stdout, stderr }: Finished): void => {
  expect({ code, stderr: stderr.replace(/^sidekey: same user: .*\n/, "") }).toEqual({ code: 0, stderr: "" });
  const requests = api.upstream.requests.slice(before);
  expect(requests.map((request) => request.header("authorization"))).toEqual([[`Bearer ${CANARY}`]]);
  expect(stdout).toContain('"models"');
  expect(stdout).toMatch(/^API_KEY=sidekey-placeholder-api-[0-9a-f]{12}$/m);
  for (const form of CANARY_FORMS) expect(stdout + stderr).not.toContain(form);
  expect(stdout).toContain("[redacted]");
};

describe("under sidekey run", () => {
  it.skipIf(noCurl)(
    `curl calls with the key and never sees it${noCurl ? " (skipped: no curl here)" : ""}`,
    async () => {
      expectKeyOnlyUpstream(await run(`curl -sS -i -H "Authorization: Bearer $API_KEY" ${API_URL}`));
    },
  );

  it.skipIf(noCurl)(
    `curl --compressed gets what it can read, and the key not in there either${noCurl ? " (skipped: no curl here)" : ""}`,
    async () => {
      expectKeyOnlyUpstream(await run(`curl -sS -i --compressed -H "Authorization: Bearer $API_KEY" ${API_URL}`));
      expect(api.upstream.requests.at(-1)?.header("accept-encoding")).toEqual(["gzip, deflate, br"]);
    },
  );

  it.skipIf(noRequests)(
    `Python requests calls with the key and never sees it${noRequests ? " (skipped: no requests here)" : ""}`,
    async () => {
      const script = `import os, requests
r = requests.get("${API_URL}", headers={"Authorization": "Bearer " + os.environ["API_KEY"]})
print(r.status_code, r.headers, r.text)`;
      expectKeyOnlyUpstream(await run(`python3 -c '${script}'`));
    },
  );

  it("Node's fetch calls with the key and never sees it", async () => {
    const script = `const r = await fetch("${API_URL}", { headers: { authorization: "Bearer " + process.env.API_KEY } });
console.log(r.status, [...r.headers], await r.text());`;
    expectKeyOnlyUpstream(await run(`"${process.execPath}" --input-type=module -e '${script}'`));
  });

  it("no file that it leaves behind holds the key, and the audit verifies", async () => {
    await run(`"${process.execPath}" -e 'fetch("${API_URL}").then((r) => r.text())'`);
    const files = readdirSync(api.work.path, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    expect(files.length).toBeGreaterThan(5);
    for (const entry of files) {
      const text = readFileSync(join(entry.parentPath, entry.name)).toString("latin1");
      for (const form of CANARY_FORMS) expect(text.includes(form), entry.name).toBe(false);
    }
    const verdict = await api.work.sidekey(["audit", "verify", "--json"]);
    expect(verdict.code).toBe(0);
    expect(JSON.parse(verdict.stdout)).toMatchObject({ ok: true });
    const tail = await api.work.sidekey(["audit", "tail", "-n", "3"]);
    expect(tail.stdout).toMatch(/outcome {2}api {2}200 {2}ok/);
    expect(tail.stdout).toMatch(
      /intent {3}inject {2}GET {2}api\.example\.test(?::443)?\/v1\/models {2}api {2}local:production\/x\/key/,
    );
  });
});

describe("what a client is refused", () => {
  it("has a code of ours, and nothing goes upstream", async () => {
    const url = API_URL.replace("/v1/models", "/other");
    const script = `fetch("${url}").then(async (r) => console.log(r.status, r.headers.get("x-sidekey-error"), await r.text()))`;
    const { stdout } = await run(`"${process.execPath}" -e '${script}'`);
    expect(stdout).toContain("403 POLICY_NO_ROUTE {");
    expect(api.upstream.requests.length).toBe(before);
  });
});
