/** Transcripts of `sidekey env`, and real programs that go by what it prints. */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { API_URL, type Api, CANARY, CANARY_FORMS, createApi } from "../support/api.ts";
import { noCurl } from "../support/curl.ts";
import { cleanEnvironment, type Finished, finished, MAIN, type Running, startSidekey } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const FILE = `version: 1
listen: { proxy: "127.0.0.1:7070", gateway: "127.0.0.1:7071" }
routes:
  openai: { preset: openai, secret: production/openai/api-key }
  api.anthropic.com: production/anthropic/api-key
  own: { match: "https://x.example.test/**", secret: production/x/key, env: X_KEY }
`;

const withWorkspace = async (use: (work: Workspace) => Promise<void>): Promise<void> => {
  const work = createWorkspace();
  try {
    await use(work);
  } finally {
    work.remove();
  }
};

describe("env", () => {
  it("prints the table for a shell, with the placeholders of 'run', and says that the CA is not there yet", () =>
    withWorkspace(async (work) => {
      work.write("sidekey.yaml", FILE);
      const { code, stdout, stderr } = await work.sidekey(["env"]);
      expect(code).toBe(0);
      const ca = work.at(".sidekey/ca.pem");
      const bundle = work.at(".sidekey/ca-bundle.pem");
      expect(stderr).toBe(`sidekey: ${ca} is not there yet: 'sidekey start' makes it\n`);
      const { stdout: inRun } = await work.sidekey([
        "run",
        "--",
        "sh",
        "-c",
        "echo $OPENAI_API_KEY,$ANTHROPIC_API_KEY,$X_KEY",
      ]);
      const [openai = "", anthropic = "", own = ""] = inRun.trim().split(",");
      expect(openai).toMatch(/^sk-proj-/);
      expect(anthropic).toMatch(/^sk-ant-/);
      expect(stdout.split("\n").slice(0, -2)).toEqual([
        `export OPENAI_API_KEY='${openai}'`,
        `export ANTHROPIC_API_KEY='${anthropic}'`,
        `export X_KEY='${own}'`,
        ...["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map((n) => `export ${n}='http://127.0.0.1:7070'`),
        ...["NO_PROXY", "no_proxy"].map((name) => `export ${name}='localhost,127.0.0.1,::1'`),
        ...["NODE_EXTRA_CA_CERTS", "DENO_CERT"].map((name) => `export ${name}='${ca}'`),
        ...[
          "SSL_CERT_FILE",
          "REQUESTS_CA_BUNDLE",
          "CURL_CA_BUNDLE",
          "GIT_SSL_CAINFO",
          "PIP_CERT",
          "CARGO_HTTP_CAINFO",
        ].map((name) => `export ${name}='${bundle}'`),
        `export AWS_CA_BUNDLE='${bundle}'`,
        "export NODE_USE_ENV_PROXY='1'",
      ]);
      expect(stdout).toMatch(
        /\nexport NODE_OPTIONS="\$\{NODE_OPTIONS:\+\$NODE_OPTIONS \}"'--require ".*preload\.cjs"'\n$/,
      );
    }));

  it.each([
    ["dotenv", "SSL_CERT_FILE=/run/sidekey/ca-bundle.pem\n", "HTTPS_PROXY=http://sidekey:7070\n"],
    ["docker", "ENV SSL_CERT_FILE=/run/sidekey/ca-bundle.pem\n", "ENV HTTPS_PROXY=http://sidekey:7070\n"],
    [
      "kubernetes",
      '  - name: SSL_CERT_FILE\n    value: "/run/sidekey/ca-bundle.pem"\n',
      '  - name: HTTPS_PROXY\n    value: "http://sidekey:7070"\n',
    ],
  ])("prints %s for an agent elsewhere, without NODE_OPTIONS, and says so", (format, bundle, proxy) =>
    withWorkspace(async (work) => {
      work.write("sidekey.yaml", FILE);
      const args = ["env", "--format", format, "--ca", "/run/sidekey", "--proxy", "http://sidekey:7070/"];
      const { code, stdout, stderr } = await work.sidekey(args);
      expect(code).toBe(0);
      expect(stdout).toContain(bundle);
      expect(stdout).toContain(proxy);
      expect(stdout).not.toContain("NODE_OPTIONS");
      expect(stderr).toMatch(/^sidekey: NODE_OPTIONS is left out: .*--require ".*preload\.cjs"\n$/);
    }),
  );

  it("prints base URLs of the gateway alone with --gateway, and JSON", () =>
    withWorkspace(async (work) => {
      work.write("sidekey.yaml", FILE);
      const { code, stdout, stderr } = await work.sidekey(["env", "--gateway", "--json"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(JSON.parse(stdout)).toEqual({
        OPENAI_BASE_URL: "http://127.0.0.1:7071/openai/v1",
        OPENAI_API_KEY: expect.stringMatching(/^sk-proj-/),
        ANTHROPIC_BASE_URL: "http://127.0.0.1:7071/api.anthropic.com",
        ANTHROPIC_API_KEY: expect.stringMatching(/^sk-ant-/),
      });
    }));

  it("names the address of this machine for a listener on every one, and the directory of tls.export", () =>
    withWorkspace(async (work) => {
      work.write(
        "sidekey.yaml",
        'version: 1\nlisten: { proxy: "[::]:7070", clients: [10.0.0.0/8] }\ntls: { export: ./shared ca }\n',
      );
      const { stdout } = await work.sidekey(["env", "--format", "dotenv"]);
      expect(stdout).toContain("HTTP_PROXY='http://[::1]:7070'\n");
      expect(stdout).toContain(`DENO_CERT='${work.at("shared ca/ca.pem")}'\n`);
    }));

  const refused = (args: readonly string[], file: string, code: string, words: RegExp) =>
    [args, file, code, words] as const;
  it.each([
    refused(
      [],
      'version: 1\nlisten: { proxy: "off", gateway: "127.0.0.1:7071" }\n',
      "CONFIG_USAGE",
      /listen\.proxy is off\.\nhint: Write listen: .*, or use --gateway\./,
    ),
    refused(
      [],
      'version: 1\nlisten: { proxy: "unix:./p.sock" }\n',
      "CONFIG_USAGE",
      /a unix socket, which no variable names/,
    ),
    refused([], 'version: 1\nlisten: { proxy: "127.0.0.1:0" }\n', "CONFIG_NOT_RUNNING", /sidekey start/),
    refused(["--gateway"], "version: 1\n", "CONFIG_USAGE", /listen\.gateway is off/),
    refused(["--gateway"], 'version: 1\nlisten: { gateway: "127.0.0.1:7071" }\n', "CONFIG_USAGE", /docs\/presets\.md/),
    refused(["--gateway", "--ca", "/x"], "version: 1\n", "CONFIG_USAGE", /Leave out --proxy and --ca/),
    refused(["--proxy", "https://user:pw@x:1"], "version: 1\n", "CONFIG_USAGE", /--proxy is not http:\/\/HOST:PORT/),
    refused(["--proxy", "http://x:99999"], "version: 1\n", "CONFIG_USAGE", /--proxy is not http:\/\/HOST:PORT/),
    refused(["--format", "fish"], "version: 1\n", "CONFIG_USAGE", /shell, dotenv, docker, kubernetes/),
    refused(
      ["--format", "dotenv", "--ca", "/it's"],
      "version: 1\n",
      "CONFIG_USAGE",
      /value of NODE_EXTRA_CA_CERTS has a quote/,
    ),
    refused(
      ["--format", "docker", "--ca", "/a\nb"],
      "version: 1\n",
      "CONFIG_USAGE",
      /readers of Dockerfiles take differently/,
    ),
  ])("refuses %j with %j", (args, file, code, words) =>
    withWorkspace(async (work) => {
      work.write("sidekey.yaml", file);
      const result = await work.sidekey(["env", ...args]);
      expect(result.stdout).toBe("");
      expect(result.stderr).toContain(`sidekey: ${code}: `);
      expect(result.stderr).toMatch(words);
      expect(result.code).toBe(code === "CONFIG_USAGE" ? 2 : 1);
    }),
  );
});

describe("programs that go by it", () => {
  let api: Api;
  let program: Running;
  beforeAll(async () => {
    // A state directory with what shells trip over.
    api = await createApi((request, response) => {
      response.end(JSON.stringify({ echo: request.headers.authorization }));
    }, "state: ./it's $HOME state\n");
    mkdirSync(api.work.at("agent"));
    program = await startSidekey([], { cwd: api.work.path });
  });
  afterAll(async () => {
    await program.stop();
    await api.close();
  });

  /** In a shell whose environment came from `env` alone, beside PATH. */
  const inShell = async (script: string): Promise<Finished> => {
    const words = `env=$("${process.execPath}" "${MAIN}" env -c ../sidekey.yaml) && eval "$env" && ${script}`;
    // Not waited for in the dark: the upstream is in this process.
    const child = spawn("sh", ["-c", words], { cwd: api.work.at("agent"), env: cleanEnvironment() });
    child.stdin.end();
    const result = await finished(child);
    for (const form of CANARY_FORMS) expect(result.stdout + result.stderr).not.toContain(form);
    return result;
  };
  const arrived = () => api.upstream.requests.map((one) => one.header("authorization")[0]);

  it.skipIf(noCurl)(`curl, with its placeholder${noCurl ? " (skipped: no curl here)" : ""}`, async () => {
    const { code, stdout, stderr } = await inShell(
      `curl -sS --max-time 20 -H "Authorization: Bearer $API_KEY" ${API_URL}`,
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("[redacted]");
    expect(arrived().at(-1)).toBe(`Bearer ${CANARY}`);
  });

  it("fetch of this Node, of any version, by the preload", async () => {
    const script = `fetch("${API_URL}").then((r) => r.text()).then((t) => console.log(t))`;
    const { code, stdout, stderr } = await inShell(`"${process.execPath}" -e '${script}'`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("[redacted]");
    expect(arrived().at(-1)).toBe(`Bearer ${CANARY}`);
  });

  it("by the port that 'start' was given, and the CA that it wrote", async () => {
    const { stdout } = await inShell('echo "$HTTPS_PROXY"; cat "$NODE_EXTRA_CA_CERTS"');
    const [url, ...pem] = stdout.split("\n");
    expect(url).toBe(`http://${program.ready["proxy"]}`);
    expect(pem.join("\n")).toBe(readFileSync(api.work.at("it's $HOME state/ca.pem"), "utf8"));
  });
});
