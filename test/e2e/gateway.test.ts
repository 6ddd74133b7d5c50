/** A real client with a base URL, against the built program. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Api, CANARY, CANARY_FORMS, createApi } from "../support/api.ts";
import { noCurl } from "../support/curl.ts";
import { type Running, startSidekey } from "../support/program.ts";

const run = promisify(execFile);

let api: Api;
let program: Running;

beforeAll(async () => {
  api = await createApi((request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ echo: request.headers.authorization }));
  });
  const file = api.work.write(
    "gateway.yaml",
    `version: 1
listen: { proxy: "unix:./proxy.sock", gateway: "127.0.0.1:0" }
routes:
  api: { match: "https://api.example.test/v1/**", secret: production/x/key }
upstream:
  ca: ./upstream-ca.pem
  connect: { "api.example.test:443": "${api.upstream.address}" }
`,
  );
  program = await startSidekey(["-c", file], { cwd: api.work.path });
});

afterAll(async () => {
  await program.stop();
  await api.close();
});

const curl = async (...args: string[]): Promise<string> => {
  const { stdout, stderr } = await run("curl", ["-sS", "--max-time", "20", ...args]);
  for (const form of CANARY_FORMS) expect(stdout + stderr).not.toContain(form);
  return stdout;
};

describe.skipIf(noCurl)(`curl with a base URL${noCurl ? " (skipped: no curl here)" : ""}`, () => {
  it("calls with the key and needs neither proxy nor CA", async () => {
    const base = `http://${program.ready["gateway"]}/api/v1`;
    expect(await curl("-H", "Authorization: Bearer placeholder", `${base}/models`)).toContain("[redacted]");
    expect(await curl("-d", "{}", `${base}/chat/completions`)).toContain("[redacted]");
    expect(api.upstream.requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      "GET /v1/models",
      "POST /v1/chat/completions",
    ]);
    expect(api.upstream.requests.map((one) => one.header("authorization"))).toEqual([
      [`Bearer ${CANARY}`],
      [`Bearer ${CANARY}`],
    ]);
  });

  it("is refused what a page could send, and what the route does not cover", async () => {
    const base = `http://${program.ready["gateway"]}/api`;
    const code = ["-o", "/dev/null", "-w", "%{http_code} %header{x-sidekey-error}"];
    const before = api.upstream.requests.length;
    expect(await curl(...code, "-H", "Origin: https://evil.test", `${base}/v1/models`)).toContain("403");
    expect(await curl(...code, "-H", "Host: evil.test", `${base}/v1/models`)).toContain("421");
    expect(await curl(...code, `${base}/v2/models`)).toContain("403");
    expect(await curl(...code, "--path-as-is", `${base}/v1/../../other`)).toContain("400");
    expect(api.upstream.requests.length).toBe(before);
  });
});

describe("the ready line", () => {
  it("shows where both ways in are", () => {
    expect(program.ready).toMatchObject({
      proxy: `unix:${api.work.at("proxy.sock")}`,
      gateway: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    });
  });
});
