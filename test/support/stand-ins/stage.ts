/** Every upstream of the real clients, a file that routes to them, and a key for each. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { cleanEnvironment, type Finished, finished, launch } from "../program.ts";
import { createWorkspace, type Workspace } from "../workspace.ts";
import { anthropic, api, openai } from "./apis.ts";
import { gitServer, makeRepository } from "./git.ts";
import { npmRegistry, pythonIndex } from "./registries.ts";
import { type StandIns, startStandIns } from "./stand-in.ts";

export const API = "api.example.test";
export const GIT = "git.example.test";
export const NPM = "npm.example.test";
export const PYPI = "pypi.example.test";

/** One for each host, so that the wrong one is found out. */
export const KEYS = {
  api: "sk-canary-api-4f9d1c27b80e63a5",
  openai: "sk-canary-openai-8b1e90d2c47f35a6",
  anthropic: "sk-canary-anthropic-2d7c5fe19b04a863",
  git: "ghp-canary-git-97c0b3f4d5e2186a",
  npm: "npm-canary-6e2f1d8a9c7b4053",
  pypi: "pypi-canary-5a3c9e7d1f0b8246",
};

const basic = (user: string, key: string): string => Buffer.from(`${user}:${key}`).toString("base64");

/** The forms in which a key could stand somewhere. */
export const KEY_FORMS: readonly string[] = [
  ...Object.values(KEYS).flatMap((key) => [
    key,
    Buffer.from(key).toString("base64").replace(/=+$/, ""),
    Buffer.from(key).toString("hex"),
  ]),
  basic("x-access-token", KEYS.git),
  basic("__token__", KEYS.pypi),
];

const FILE = (address: string): string => `version: 1
listen: { proxy: "127.0.0.1:0" }
routes:
  api: { match: "https://${API}/v1/**", secret: production/api/key, env: API_KEY }
  api.openai.com: production/openai/key
  api.anthropic.com: production/anthropic/key
  git: { match: "https://${GIT}/**", secret: production/git/token, inject: { kind: basic, username: x-access-token } }
  npm: { match: "https://${NPM}/**", secret: production/npm/token }
  pypi: { match: "https://${PYPI}/**", secret: production/pypi/token, inject: { kind: basic, username: __token__ } }
${connections(address)}`;

/** The end of a file whose routes lead to the stand-ins. */
const connections = (address: string): string => `upstream:
  ca: ./stand-ins.pem
  connect:
${[API, "api.openai.com", "api.anthropic.com", GIT, NPM, PYPI].map((host) => `    "${host}:443": "${address}"`).join("\n")}
`;

export interface Stage {
  readonly work: Workspace;
  readonly standIns: StandIns;
  /** The `upstream` of the file, for another file beside a copy of `stand-ins.pem`. */
  readonly upstream: string;
  /** The bare repository behind the git server. */
  readonly repository: string;
  /** Runs a program behind `sidekey run`, and tells the stand-ins of each event that it prints. */
  run(command: readonly string[], environment?: Readonly<Record<string, string>>): Promise<Finished>;
  /** Runs a program by itself, to its end, with this environment. */
  runAlone(command: readonly string[], environment: Readonly<Record<string, string>>): Promise<Finished>;
  close(): Promise<void>;
}

export const createStage = async (): Promise<Stage> => {
  const work = createWorkspace();
  const repository = makeRepository(work.at("git"));
  const standIns = await startStandIns([
    api(API, KEYS.api),
    openai(KEYS.openai),
    anthropic(KEYS.anthropic),
    gitServer(GIT, work.at("git"), `Basic ${basic("x-access-token", KEYS.git)}`),
    npmRegistry(NPM, work.at("npm"), KEYS.npm),
    pythonIndex(PYPI, work.at("pypi"), `Basic ${basic("__token__", KEYS.pypi)}`),
  ]);
  work.write("stand-ins.pem", standIns.certificatePem);
  work.write("sidekey.yaml", FILE(standIns.address));
  const hosts = { api: API, openai: "api.openai.com", anthropic: "api.anthropic.com", git: GIT, npm: NPM, pypi: PYPI };
  for (const [name, key] of Object.entries(KEYS)) {
    const path = `production/${name}/${["git", "npm", "pypi"].includes(name) ? "token" : "key"}`;
    const host = hosts[name as keyof typeof hosts];
    const stored = await work.sidekey(["secret", "set", path, "--host", host], { input: key });
    if (stored.code !== 0) throw new Error(stored.stderr);
  }
  return {
    work,
    standIns,
    upstream: connections(standIns.address),
    repository,
    run(command, environment = {}) {
      const child = launch(["run", "--", ...command], {
        cwd: work.path,
        // Nothing of this machine's user: no .npmrc, no .netrc, no pip.conf. Real keys, which `run` must take out.
        environment: { HOME: work.path, ...keysFromBefore(), ...environment },
      });
      child.stdin?.end();
      return watched(child, standIns);
    },
    runAlone([program = "", ...args], environment) {
      const env = cleanEnvironment({ HOME: work.path, ...environment });
      return watched(spawn(program, args, { cwd: work.path, env, stdio: ["ignore", "pipe", "pipe"] }), standIns);
    },
    async close() {
      await standIns.close();
      work.remove();
    },
  };
};

/** Tells the stand-ins of each event that the program has printed. */
const watched = (child: ChildProcess, standIns: StandIns): Promise<Finished> => {
  let text = "";
  let seen = 0;
  child.stdout?.on("data", (chunk) => {
    text += String(chunk);
    const events = text.match(/event \d/g)?.length ?? 0;
    for (; seen < events; seen += 1) standIns.arrived();
  });
  return finished(child);
};

/** What a person had exported before there was Sidekey: the real keys, under the names that SDKs read. */
const keysFromBefore = (): Readonly<Record<string, string>> => ({
  OPENAI_API_KEY: KEYS.openai,
  ANTHROPIC_API_KEY: KEYS.anthropic,
  API_KEY: KEYS.api,
  NPM_TOKEN: KEYS.npm,
});

export const clientFile = (...path: readonly string[]): string =>
  join(import.meta.dirname, "../../e2e/clients", ...path);
