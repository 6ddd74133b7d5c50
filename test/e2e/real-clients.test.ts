/** Every real client of the table under `sidekey run`, and docs/clients.md, which is printed from it. */
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { cleanEnvironment, type Finished, finished, type Running, startSidekey } from "../support/program.ts";
import { readVersions, renderClientReference } from "../support/references/client-reference.ts";
import { ANSWER } from "../support/stand-ins/apis.ts";
import { dropLast, headOf } from "../support/stand-ins/git.ts";
import { createStage, KEY_FORMS, KEYS, type Stage } from "../support/stand-ins/stage.ts";
import { lay, makeDirectory, quickStarts, type Section } from "./clients/quick-starts.ts";
import { BASE, BY_BASE_URL, buildGoClient, CLIENTS, type Client, GO_SETTINGS, printed } from "./clients/table.ts";

/** With SIDEKEY_TEST_ALL=1 a client that is missing is a failure. */
const all = process.env["SIDEKEY_TEST_ALL"] === "1";

let stage: Stage;
let before = 0;
/** Meanwhile the others run. */
let goClient: Promise<unknown> | undefined;
beforeAll(async () => {
  stage = await createStage();
  if (all || printed("go", "version")() !== undefined) {
    goClient = buildGoClient(stage.work.at("go-client")).catch((error: unknown) => error);
  }
});
afterAll(() => stage.close());
beforeEach(() => {
  before = stage.standIns.received.length;
});

const received = () => stage.standIns.received.slice(before);

const expectNoKey = ({ stdout, stderr }: Finished): void => {
  for (const form of KEY_FORMS) expect(stdout + stderr).not.toContain(form);
};

const withoutNote = (stderr: string): string => stderr.replace(/^sidekey: same user: .*\n/, "");

const expectInOrder = (text: string, pieces: readonly string[]): void => {
  let from = 0;
  for (const piece of pieces) {
    const at = text.indexOf(piece, from);
    expect(at, `"${piece}" in:\n${text.slice(from)}`).not.toBe(-1);
    from = at + piece.length;
  }
};

const check = (client: Client, result: Finished): void => {
  expect({ code: result.code, stderr: withoutNote(result.stderr) }).toEqual({ code: 0, stderr: "" });
  expectInOrder(result.stdout, client.output);
  expectNoKey(result);
  const calls = received().map(({ host, line }) => `${host} ${line}`);
  if (client.calls instanceof RegExp) expect(calls.map((call) => `${call}\n`).join("")).toMatch(client.calls);
  else expect(calls).toEqual(client.calls);
  expect(received().filter(({ authorized }) => !authorized)).toEqual([]);
};

describe("under sidekey run", () => {
  for (const client of CLIENTS) {
    const missing = !all && client.version() === undefined;
    it.skipIf(missing)(
      `${client.name} works with a key that it never sees${missing ? " (skipped: not on this machine)" : ""}`,
      async () => {
        if (client.name.startsWith("Go ")) expect(await goClient).toBeUndefined();
        const result = await stage.run(client.command);
        check(client, result);
        if (client.name === "git") {
          expect(result.stdout).toContain(`${headOf(stage.repository)}\n`);
          dropLast(stage.repository);
        }
      },
      180_000,
    );
  }
});

describe("through the gateway of sidekey start", () => {
  let sidecar: Running;
  beforeAll(async () => {
    const file = readFileSync(stage.work.at("sidekey.yaml"), "utf8").replace(
      /^listen: .*$/m,
      'listen: { proxy: off, gateway: "127.0.0.1:0" }',
    );
    stage.work.write("gateway.yaml", file);
    sidecar = await startSidekey(["-c", "gateway.yaml"], { cwd: stage.work.path });
  });
  afterAll(() => sidecar.stop());

  for (const client of CLIENTS.filter(({ name }) => BY_BASE_URL.includes(name))) {
    const missing = !all && client.version() === undefined;
    it.skipIf(missing)(
      `${client.name} works by a base URL${missing ? " (skipped: not on this machine)" : ""}`,
      async () => {
        if (client.name.startsWith("Go ")) expect(await goClient).toBeUndefined();
        const gateway = `http://${sidecar.ready["gateway"]}`;
        const own = client.name.startsWith("Java ") ? ["java", client.command.at(-1) ?? "", BASE] : client.command;
        const command = own.map((word) => (word === BASE ? `${gateway}/api` : word));
        const result = await stage.runAlone(command, {
          API_KEY: "placeholder",
          OPENAI_API_KEY: "placeholder",
          ANTHROPIC_API_KEY: "placeholder",
          OPENAI_BASE_URL: `${gateway}/api.openai.com/v1`,
          ANTHROPIC_BASE_URL: `${gateway}/api.anthropic.com`,
        });
        check(client, result);
      },
      180_000,
    );
  }
});

/** What must be on the machine besides Node, and what the commands print. */
const QUICK_STARTS: Readonly<Record<string, { readonly like?: string; readonly output: string }>> = {
  "curl and shell": { like: "curl", output: '"models"' },
  git: { like: "git", output: "" },
  "Python: requests": { like: "Python requests", output: "'models'" },
  "Python: httpx": { like: "Python httpx", output: "'models'" },
  "Python: OpenAI SDK": { like: "Python openai", output: ANSWER },
  "Python: Anthropic SDK": { like: "Python anthropic", output: ANSWER },
  "Python: LangChain": { like: "Python langchain-openai", output: ANSWER },
  "Node: fetch": { output: '"models"' },
  "Node: axios": { output: '"models"' },
  "Node: OpenAI SDK": { output: ANSWER },
  "Node: Anthropic SDK": { output: ANSWER },
  "Node: Vercel AI SDK": { output: ANSWER },
  Go: { like: "Go net/http", output: '"models"' },
  Java: { like: "Java HttpClient", output: '"models"' },
};

describe("docs/quick-starts.md", () => {
  const [first, ...others] = quickStarts();
  let directory: string;
  let begun: Finished | undefined;
  const follow = (section: Section): Promise<Finished> => shell(lay(directory, section, stage.upstream), directory);
  beforeAll(async () => {
    directory = stage.work.at("quick-starts");
    makeDirectory(directory);
    copyFileSync(stage.work.at("stand-ins.pem"), join(directory, "stand-ins.pem"));
    // What all the others begin with.
    begun = first && (await follow(first));
  });

  it("has the sections that are run here and no other", () => {
    expect(others.map(({ title }) => title)).toEqual(Object.keys(QUICK_STARTS));
  });

  it('begins with "First": keys, a file, and what will become of a call', () => {
    expect(first?.title).toBe("First");
    expect(begun).toMatchObject({ code: 0, stderr: "" });
    expect(begun?.stdout).toContain("stored production/openai/api-key version 1");
    expect(begun?.stdout).toContain("inject");
  });

  for (const section of others) {
    const { like, output } = QUICK_STARTS[section.title] ?? { output: "" };
    const client = CLIENTS.find(({ name }) => name === like);
    const missing = !all && client?.version() === undefined && client !== undefined;
    it.skipIf(missing)(
      `"${section.title}" does what it says${missing ? " (skipped: not on this machine)" : ""}`,
      async () => {
        if (section.title === "Go") expect(await goClient).toBeUndefined();
        const { code, stdout, stderr } = await follow(section);
        expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
        expect(stdout).toContain(output);
        expectNoKey({ code, stdout, stderr });
        expect(received().filter(({ authorized }) => !authorized)).toEqual([]);
        expect(received()).not.toEqual([]);
      },
      180_000,
    );
  }
});

const shell = (script: string, directory: string): Promise<Finished> => {
  const environment = cleanEnvironment({
    HOME: directory,
    PATH: `${join(directory, "bin")}:${process.env["PATH"]}`,
    MY_OPENAI_KEY: KEYS.openai,
    MY_ANTHROPIC_KEY: KEYS.anthropic,
    MY_EXAMPLE_KEY: KEYS.api,
    MY_GIT_TOKEN: KEYS.git,
    ...GO_SETTINGS,
  });
  return finished(spawn("bash", ["--norc", "-euc", script], { cwd: directory, env: environment }));
};

describe("the AWS CLI, whose requests are signed", () => {
  const run = (...args: readonly string[]) =>
    stage.run(["aws", "--region", "eu-west-1", ...args], { AWS_EC2_METADATA_DISABLED: "true", AWS_MAX_ATTEMPTS: "1" });
  const missing = !all && printed("aws", "--version")() === undefined;
  const skipped = missing ? " (skipped: not on this machine)" : "";

  it.skipIf(missing)(`says itself that it has no credentials${skipped}`, async () => {
    const result = await run("sts", "get-caller-identity");
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain("Unable to locate credentials");
    expect(received()).toEqual([]);
  });

  it.skipIf(missing)(`is refused what it sends unsigned, on record${skipped}`, async () => {
    const result = await run("s3api", "list-objects-v2", "--bucket", "any", "--no-sign-request");
    expect(result.code).not.toBe(0);
    expect(result.stderr).toMatch(/proxy/i);
    expect(received()).toEqual([]);
    const audit = await stage.work.sidekey(["audit", "search", "--type", "refusal", "--json"]);
    expect(audit.stdout).toContain('"code":"POLICY_NO_ROUTE"');
    expect(audit.stdout).toContain("amazonaws.com");
  });
});

describe("docs/clients.md", () => {
  const file = new URL("../../docs/clients.md", import.meta.url);

  it("is what the table says; with -u it gets the versions of this machine", async () => {
    const present = readVersions(existsSync(file) ? readFileSync(file, "utf8") : "");
    const here = (): Record<string, string> =>
      Object.fromEntries(CLIENTS.flatMap((client) => [[client.name, client.version()]]).filter(([, v]) => v)) as Record<
        string,
        string
      >;
    // Another machine has others: that alone is no reason to fail.
    const versions = isRenewed() ? { ...present, ...here() } : present;
    expect(CLIENTS.map(({ name }) => name).filter((name) => versions[name] === undefined)).toEqual([]);
    await expect(renderClientReference(CLIENTS, versions)).toMatchFileSnapshot("../../docs/clients.md");
  });
});

/** Whether vitest runs with -u. */
const isRenewed = (): boolean => {
  const state: unknown = expect.getState().snapshotState;
  return typeof state === "object" && state !== null && Reflect.get(state, "_updateSnapshot") === "all";
};
