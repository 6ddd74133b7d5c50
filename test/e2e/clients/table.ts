/** The real clients: how each is run behind `sidekey run`, what it must have done, and what it needs that others do not. */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { finished } from "../../support/program.ts";
import { ANSWER, EVENTS } from "../../support/stand-ins/apis.ts";
import { API, clientFile, GIT, NPM, PYPI } from "../../support/stand-ins/stage.ts";

export interface Client {
  readonly name: string;
  /** After `sidekey run --`. */
  readonly command: readonly string[];
  /** `HOST METHOD PATH` of what must arrive, in order; a pattern where a client asks as often as it likes. */
  readonly calls: readonly string[] | RegExp;
  /** What must stand in its output, in this order. */
  readonly output: readonly string[];
  /** For docs/clients.md. */
  readonly does: string;
  /** What must be set besides `run`; absent = nothing. For docs/clients.md. */
  readonly needs?: string;
  /** Undefined: not on this machine. */
  version(): string | undefined;
}

const ROOT = join(import.meta.dirname, "../../..");
export const BASE = `https://${API}`;

/** What three of the calls of `api` bring: an echo without the key, a large body counted by the upstream, a stream. */
const LARGE = createHash("sha256").update("x".repeat(1_000_000)).digest("hex");
const API_CALLS = [`${API} GET /v1/models`, `${API} POST /v1/echo`, `${API} GET /v1/stream`];
const API_OUTPUT = ['{"models":["one"]', "[redacted]", `{"bytes":1000000,"sha256":"${LARGE}"`, ...EVENTS];
const API_DOES = "GET, POST of 1 MB, server-sent events";

const apiClient = (client: Pick<Client, "name" | "command" | "version"> & { readonly needs?: string }): Client => ({
  calls: API_CALLS,
  output: API_OUTPUT,
  does: API_DOES,
  ...client,
});

/** Its first line with a number that looks like a version. */
export const printed =
  (program: string, ...args: readonly string[]) =>
  (): string | undefined => {
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", cwd: "/" });
    if (status !== 0) return undefined;
    return /\d+\.\d+(?:\.\d+)*/.exec(stdout + stderr)?.[0];
  };

const installed = (name: string) => (): string | undefined => {
  const file = join(ROOT, "node_modules", name, "package.json");
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version : undefined;
};

/** All of Python's at once: an interpreter takes longer to start than to answer. */
let pythonVersions: Readonly<Record<string, string>> | undefined;
const PYTHON_PACKAGES = ["requests", "httpx", "aiohttp", "urllib3", "openai", "anthropic", "langchain-openai", "pip"];
const SCRIPT = `
import importlib.metadata as m, json, sys
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
print(json.dumps({**{name: version(name) for name in sys.argv[1:]}, "python": sys.version.split()[0]}))`;
const python = (name: string) => (): string | undefined => {
  if (pythonVersions === undefined) {
    const { status, stdout } = spawnSync("python3", ["-c", SCRIPT, ...PYTHON_PACKAGES], { encoding: "utf8", cwd: "/" });
    pythonVersions = status === 0 ? (JSON.parse(stdout) as Record<string, string>) : {};
  }
  return pythonVersions[name] ?? undefined;
};

const pythonClient = (name: string, needs?: string): Client =>
  apiClient({
    name: `Python ${name}`,
    command: ["python3", clientFile("python", `with_${name}.py`), BASE],
    version: python(name),
    ...(needs !== undefined && { needs }),
  });

const nodeClient = (name: string, needs?: string): Client =>
  apiClient({
    name: `Node ${name}`,
    command: [process.execPath, clientFile("node", `${name}.mjs`), BASE],
    version: name === "fetch" ? () => process.versions.node : installed(name),
    ...(needs !== undefined && { needs }),
  });

const sdk = (
  name: string,
  command: readonly string[],
  version: Client["version"],
  paths: readonly string[],
): Client => ({
  name,
  command,
  version,
  calls: paths,
  // All but the last call ask for a whole answer.
  output: [...paths.slice(1).map(() => `answer ${ANSWER}`), ...EVENTS],
  does: "a whole answer, a streamed one",
});

const CHAT = "api.openai.com POST /v1/chat/completions";
const RESPONSES = "api.openai.com POST /v1/responses";
const MESSAGES = "api.anthropic.com POST /v1/messages";
const ofNode = (name: string): readonly string[] => [process.execPath, clientFile("node", `${name}.mjs`)];
const ofPython = (name: string): readonly string[] => ["python3", clientFile("python", `with_${name}.py`)];

const UNDICI = "`setGlobalDispatcher(new EnvHttpProxyAgent())`; nothing from Node 24.5 on";
const GOT = "an `agent` of the package `hpagent` made with `HTTPS_PROXY`; nothing from Node 24.5 on";

export const CLIENTS: readonly Client[] = [
  apiClient({
    name: "curl",
    command: ["sh", clientFile("shell", "curl.sh"), BASE],
    version: printed("curl", "--version"),
  }),
  apiClient({
    name: "wget",
    command: ["sh", clientFile("shell", "wget.sh"), BASE],
    version: printed("wget", "--version"),
    needs: '`--ca-certificate="$SSL_CERT_FILE"`, or `ca_certificate` in `~/.wgetrc`',
  }),
  {
    name: "git",
    command: ["sh", clientFile("shell", "git.sh"), `https://${GIT}`],
    calls: new RegExp(`^(${GIT} (GET /project\\.git/info/refs|POST /project\\.git/git-(upload|receive)-pack)\n)+$`),
    output: ["the project"],
    does: "clone, fetch, push of 200 MiB; no credential of git's own",
    version: printed("git", "--version"),
  },
  {
    name: "npm",
    command: [
      ...[
        "sh",
        "-c",
        'npm install --silent --no-audit --no-fund --prefix installed "$@" tiny && cat installed/node_modules/tiny/index.js',
      ],
      ...["sh", `--registry=https://${NPM}/`],
    ],
    // It may look for a newer npm on the side.
    calls: new RegExp(
      `^(${NPM} GET /npm\n)?${NPM} GET /tiny\n(${NPM} GET /npm\n)?${NPM} GET /tiny/-/tiny-1\\.0\\.0\\.tgz\n(${NPM} GET /npm\n)?$`,
    ),
    output: ["tiny was here"],
    does: "install from a private registry",
    version: printed("npm", "--version"),
  },
  {
    name: "pip",
    command: [
      ...[
        "sh",
        "-c",
        'python3 -m pip install --quiet --root-user-action=ignore --no-cache-dir --disable-pip-version-check --target wheels "$@" tiny && cat wheels/tiny.py',
      ],
      ...["sh", "--index-url", `https://${PYPI}/simple/`],
    ],
    calls: [`${PYPI} GET /simple/tiny/`, `${PYPI} GET /files/tiny-1.0.0-py3-none-any.whl`],
    output: ["tiny was here"],
    does: "install from a private index",
    version: python("pip"),
  },
  nodeClient("fetch"),
  nodeClient("undici", UNDICI),
  nodeClient("axios"),
  nodeClient("got", GOT),
  sdk("Node openai", ofNode("openai"), installed("openai"), [CHAT, RESPONSES, CHAT]),
  sdk("Node @anthropic-ai/sdk", ofNode("anthropic"), installed("@anthropic-ai/sdk"), [MESSAGES, MESSAGES]),
  sdk("Node ai with @ai-sdk/openai", ofNode("ai-sdk"), installed("ai"), [CHAT, RESPONSES, CHAT]),
  pythonClient("requests"),
  pythonClient("httpx"),
  pythonClient("aiohttp", "`ClientSession(trust_env=True)`"),
  pythonClient("urllib3", '`ProxyManager(os.environ["HTTPS_PROXY"])`'),
  { ...pythonClient("urllib"), version: python("python") },
  sdk("Python openai", ofPython("openai"), python("openai"), [CHAT, RESPONSES, CHAT]),
  sdk("Python anthropic", ofPython("anthropic"), python("anthropic"), [MESSAGES, MESSAGES]),
  sdk("Python langchain-openai", ofPython("langchain"), python("langchain-openai"), [CHAT, CHAT]),
  apiClient({ name: "Go net/http", command: ["./go-client", BASE], version: printed("go", "version") }),
  apiClient({
    name: "Java HttpClient",
    command: ["sh", clientFile("shell", "java.sh"), BASE, clientFile("java", "Client.java")],
    version: printed("javac", "-version"),
    needs: "`https.proxyHost`, `https.proxyPort`, and a trust store made of `ca.pem` by `keytool`",
  }),
];

/** Those that are told a base URL instead: without a proxy, without a CA, and without a setting. */
export const BY_BASE_URL: readonly string[] = [
  "curl",
  "Node fetch",
  "Node axios",
  "Node openai",
  "Node @anthropic-ai/sdk",
  "Node ai with @ai-sdk/openai",
  "Python requests",
  "Python openai",
  "Python anthropic",
  "Go net/http",
  "Java HttpClient",
];

/** One cache for all that is compiled (the programs run with another HOME), and nothing fetched. */
export const GO_SETTINGS = {
  GOCACHE: process.env["GOCACHE"] ?? join(homedir(), ".cache/go-build"),
  GOTOOLCHAIN: "local",
  GOPROXY: "off",
  GOFLAGS: "-mod=mod",
  CGO_ENABLED: "0",
};

/** Built once, outside of `run`: it compiles what it uses of the standard library as well, which takes a while. */
export const buildGoClient = async (to: string): Promise<void> => {
  const child = spawn("go", ["build", "-o", to, "."], {
    cwd: clientFile("go"),
    env: { ...process.env, ...GO_SETTINGS },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const { code, stderr } = await finished(child);
  if (code !== 0) throw new Error(stderr);
};
