/**
 * The AutoGen examples of Agent Secret Store's guide, by their own code, with a stand-in for the language model. Twice: with
 * `read` tokens, where they get the keys, and with `reads: placeholder`, where the process never holds one. AutoGen is ag2
 * 0.9.10, which has the API of the examples.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { scanMemory } from "../support/process-memory.ts";
import { cleanEnvironment, MAIN } from "../support/program.ts";
import { type Line, llm, type Turn } from "../support/stand-ins/llm.ts";
import { type StandIns, sendJson, startStandIns, type Upstream } from "../support/stand-ins/stand-in.ts";
import { type BuiltVault, startBuiltVault } from "../support/vault/built-vault.ts";
import { createWorkspace } from "../support/workspace.ts";

/** With SIDEKEY_TEST_ALL=1 a package that is missing is a failure. */
const all = process.env["SIDEKEY_TEST_ALL"] === "1";
const missing = !all && spawnSync("python3", ["-c", "import autogen, httpx"], { cwd: "/" }).status !== 0;
const note = missing ? " (skipped: Python has no autogen)" : "";

const EXAMPLES = join(import.meta.dirname, "clients/python/autogen");
const CLIENT = join(import.meta.dirname, "../../clients/python/src");

const random = (prefix: string): string => `${prefix}${randomBytes(20).toString("hex")}`;

/** By secret path: its key, and the host that it is for. */
const SECRETS = {
  "production/openai/api-key": { key: random("sk-proj-"), host: "api.openai.com" },
  "production/tavily/api-key": { key: random("tvly-"), host: "api.tavily.com" },
  "production/search/tavily-key": { key: random("tvly-"), host: "search.tavily.com" },
  "production/publishing/wordpress-key": { key: random("wp-"), host: "public-api.wordpress.com" },
  "production/quality/grammarly-key": { key: random("gr-"), host: "api.grammarly.com" },
} as const;
type Path = keyof typeof SECRETS;
const KEYS = Object.values(SECRETS).map(({ key }) => key);
const HOSTS = Object.values(SECRETS).map(({ host }) => host);

const upstream = (path: Path): Upstream => ({
  host: SECRETS[path].host,
  header: "authorization",
  credential: `Bearer ${SECRETS[path].key}`,
  answer: ({ response }) => sendJson(response, { findings: ["one", "two", "three"] }),
});

/** What the model was told, by request. */
let heard: string[] = [];
/** Called while the agent's process waits for the model. */
let whileItWaits: () => void = () => undefined;
let play: (turn: Turn) => Line = () => ({ say: "TERMINATE" });

const work = createWorkspace();
let server: BuiltVault;
let standIns: StandIns;
beforeAll(async () => {
  if (missing) return;
  const model = llm(
    SECRETS["production/openai/api-key"].key,
    (turn) => play(turn),
    (body) => {
      heard.push(body);
      whileItWaits();
    },
  );
  const others = Object.keys(SECRETS).filter((path) => path !== "production/openai/api-key") as Path[];
  standIns = await startStandIns([model, ...others.map(upstream)]);
  work.write("stand-ins.pem", standIns.certificatePem);
  server = await startBuiltVault();
  for (const [path, { key, host }] of Object.entries(SECRETS)) {
    await server.must("PUT", `/v1/secrets/${path}`, { value: key, hosts: [host] });
  }
}, 120_000);
afterAll(async () => {
  await server?.close();
  await standIns?.close();
  work.remove();
});
beforeEach(() => {
  heard = [];
});

const connections = (): string => `upstream:
  ca: ./stand-ins.pem
  connect:
${HOSTS.map((host) => `    "${host}:443": "${standIns.address}"`).join("\n")}
`;

interface Agent {
  readonly pid: number;
  /** How many tools the example made. */
  readonly tools: number;
  /** The secret of this path by that tool, sent to its host. */
  use(tool: number, path: Path): Promise<Readonly<Record<string, unknown>>>;
  end(): Promise<string>;
}

let running: ChildProcess | undefined;
afterEach(() => running?.kill("SIGKILL"));

/** Runs an example behind `sidekey run` until it is over. */
const runExample = async (example: string, file: string, agentKey: string): Promise<Agent> => {
  const config = work.write("agents.yaml", file);
  const child = spawn(
    process.execPath,
    [MAIN, "run", "-c", config, "--expose", "ASS_AGENT_KEY", "--", "python3", "run_example.py", example],
    {
      cwd: EXAMPLES,
      env: cleanEnvironment({
        ASS_AGENT_KEY: agentKey,
        ASS_API_URL: server.address,
        PYTHONPATH: CLIENT,
        PYTHONDONTWRITEBYTECODE: "1",
        AUTOGEN_USE_DOCKER: "0",
        SSL_CERT_FILE: work.at("stand-ins.pem"),
      }),
      stdio: ["pipe", "pipe", "pipe"],
    },
  );
  running = child;
  let output = "";
  const answers: Record<string, unknown>[] = [];
  child.stderr.on("data", (chunk) => {
    output += String(chunk);
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [, answer] = /^run_example: (.*)$/.exec(line) ?? [];
    if (answer !== undefined) answers.push(JSON.parse(answer) as Record<string, unknown>);
    else output += `${line}\n`;
  });
  const closed = once(child, "close");
  const next = async (): Promise<Record<string, unknown>> => {
    await expect
      .poll(() => (answers.length > 0 || child.exitCode !== null ? "answered" : "waiting"), { timeout: 90_000 })
      .toBe("answered");
    const answer = answers.shift();
    if (answer === undefined) throw new Error(`it ended with ${child.exitCode}:\n${output}`);
    return answer;
  };
  const { pid } = await next();
  whileItWaits = () => look(Number(pid));
  const { tools } = await next();
  return {
    pid: Number(pid),
    tools: Number(tools),
    use(tool, path) {
      child.stdin.write(`${JSON.stringify({ tool, path, url: `https://${SECRETS[path].host}/v1` })}\n`);
      return next();
    },
    async end() {
      child.stdin.end();
      await closed;
      return output;
    },
  };
};

/** Keys that were found in the agent's process while it ran, and how much was looked at. */
let seen: { found: Set<string>; looks: number; bytes: number };
beforeEach(() => {
  seen = { found: new Set(), looks: 0, bytes: 0 };
});
const look = (pid: number): void => {
  const { found, bytes } = scanMemory(pid, KEYS);
  for (const key of found) seen.found.add(key);
  seen.looks += 1;
  seen.bytes += bytes;
};

/** The assistant gets the key by its tool, writes a program that uses it, and is done when that has run. */
const research = ({ messages }: Turn): Line => {
  const last = messages.at(-1);
  if (last?.role === "tool") {
    return {
      say: `\`\`\`python
import httpx
answer = httpx.post("https://api.tavily.com/search", headers={"Authorization": "Bearer ${last.content}"}, json={})
print("search:", answer.status_code, answer.json()["findings"])
\`\`\``,
    };
  }
  if (last?.content.includes("search: 200 ['one', 'two', 'three']")) return { say: "One, two, three. TERMINATE" };
  if (messages.some(({ role }) => role === "tool")) return { say: `It failed: ${last?.content}. TERMINATE` };
  return { callTool: "get_secret", with: { path: "production/tavily/api-key" } };
};

const ROLES = {
  researcher: { says: "You research", path: "production/search/tavily-key" },
  writer: { says: "You write", path: "production/publishing/wordpress-key" },
  critic: { says: "You review", path: "production/quality/grammarly-key" },
} as const;
const NAMES = Object.keys(ROLES) as (keyof typeof ROLES)[];

/** Each in turn asks for its own secret, and says what became of it. */
const groupChat =
  (results: Record<string, string>) =>
  (turn: Turn): Line => {
    const { messages, tools } = turn;
    const [system, last] = [messages[0]?.content ?? "", messages.at(-1)];
    // Whoever chooses the next speaker has no tools.
    if (tools.length === 0) return { say: NAMES.find((name) => results[name] === undefined) ?? "critic" };
    const name = NAMES.find((one) => system.startsWith(ROLES[one].says)) ?? "critic";
    if (last?.role !== "tool") return { callTool: "get_secret", with: { path: ROLES[name].path } };
    results[name] = last.content;
    return { say: name === "critic" ? "TERMINATE" : `${name} is done.` };
  };

const created = async (name: string, reads: "value" | "placeholder"): Promise<string> => {
  const allowed = ["secrets:read:production/*", ...(reads === "placeholder" ? ["secrets:use:production/*"] : [])];
  const agent = await server.must("POST", "/v1/agents", { name, allowed_scopes: allowed, reads });
  return String(agent["api_key"]);
};

const authorizedAt = (host: string): boolean[] =>
  standIns.received.filter((one) => one.host === host).map(({ authorized }) => authorized);

describe(`with tokens that read${note}`, () => {
  const file = (): string => `version: 1\nstate: ./.state-read\nunmatched: tunnel\n${connections()}`;

  it.skipIf(missing)(
    "the single agent works as it stands, and the model gets the key",
    async () => {
      play = research;
      const agent = await runExample("research_agent.py", file(), await created("reader-one", "value"));
      expect(agent.tools).toBe(1);
      look(agent.pid);
      const output = await agent.end();
      expect(output).toContain("One, two, three. TERMINATE");
      expect(authorizedAt("api.tavily.com")).toEqual([true]);
      // What a vault alone cannot keep from happening; and the look into memory can find a key.
      expect(heard.join("\n")).toContain(SECRETS["production/tavily/api-key"].key);
      expect([...seen.found]).toEqual(
        expect.arrayContaining([SECRETS["production/openai/api-key"].key, SECRETS["production/tavily/api-key"].key]),
      );
    },
    180_000,
  );

  it.skipIf(missing)(
    "the group of agents works as it stands, each with a token of its own",
    async () => {
      const results: Record<string, string> = {};
      play = groupChat(results);
      const agent = await runExample("multi_agent_pipeline.py", file(), await created("reader-crew", "value"));
      expect(agent.tools).toBe(3);
      await expectIsolation(agent);
      await agent.end();
      // An executor of AutoGen has one function of a name, so the last one registered, the critic's, runs for all three.
      expect(results["critic"]).toBe(SECRETS["production/quality/grammarly-key"].key);
      expect(results["researcher"]).toContain("SCOPE_DENIED");
      expect(results["writer"]).toContain("SCOPE_DENIED");
    },
    180_000,
  );
});

/** Each tool reaches its own secret and its upstream, and none reaches another's. */
const expectIsolation = async (agent: Agent): Promise<void> => {
  for (const [tool, name] of NAMES.entries()) {
    const { path } = ROLES[name];
    const before = authorizedAt(SECRETS[path].host).length;
    expect(await agent.use(tool, path)).toEqual({ status: 200 });
    expect(authorizedAt(SECRETS[path].host).slice(before)).toEqual([true]);
    for (const other of NAMES) {
      if (other === name) continue;
      expect(await agent.use(tool, ROLES[other].path)).toEqual({ error: "SCOPE_DENIED", status: 403 });
    }
  }
};

describe(`with placeholders${note}`, () => {
  const file = (): string => `version: 1
state: ./.state-placeholder
sources:
  vault: { kind: sidekey, address: "${server.address}", agent_key: { file: ./agent.key } }
routes:
${HOSTS.map(
  (host, n) => `  r${n}:
    match: "https://${host}/**"
    inject: { kind: vault-placeholder, in: ["header:Authorization"], secrets: ["production/*"] }`,
).join("\n")}
${connections()}`;

  const run = async (example: string, name: string): Promise<Agent> => {
    const key = await created(name, "placeholder");
    work.write("agent.key", `${key}\n`);
    return runExample(example, file(), key);
  };

  const expectNoKeySeen = (): void => {
    expect([...seen.found]).toEqual([]);
    expect(seen.looks).toBeGreaterThan(1);
    expect(seen.bytes).toBeGreaterThan(10 * 1024 * 1024);
    for (const key of KEYS) expect(heard.join("\n")).not.toContain(key);
  };

  it.skipIf(missing)(
    "the single agent works as it stands, and no key is in its memory or told to the model",
    async () => {
      play = research;
      const before = authorizedAt("api.tavily.com").length;
      const agent = await run("research_agent.py", "placeholder-one");
      look(agent.pid);
      const output = await agent.end();
      expect(output).toContain("One, two, three. TERMINATE");
      expect(authorizedAt("api.tavily.com").slice(before)).toEqual([true]);
      expectNoKeySeen();
      expect(heard.join("\n")).toMatch(/tvly-SKP[0-9A-Za-z]{24,}/);
    },
    180_000,
  );

  it.skipIf(missing)(
    "each agent of a group gets its own key to its upstream, none is in its memory, and none reaches another's",
    async () => {
      const results: Record<string, string> = {};
      play = groupChat(results);
      const agent = await run("multi_agent_pipeline.py", "placeholder-crew");
      await expectIsolation(agent);
      look(agent.pid);
      await agent.end();
      expect(results["critic"]).toMatch(/SKP[0-9A-Za-z]{24,}/);
      expectNoKeySeen();
    },
    180_000,
  );
});
