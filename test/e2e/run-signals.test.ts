/** `run --vault`, told to end in each of its phases: whatever token it has by then is given back, and no file stays. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { finished, launch } from "../support/program.ts";
import { startUpstream } from "../support/upstream.ts";
import { startVaultFront, type VaultFront } from "../support/vault/vault-front.ts";
import { serveVault } from "../support/vault/vault-process.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const PATH = "production/api/key";
const VALUE = "sk-canary-run-signals-5f08c1";

interface Stage {
  readonly front: VaultFront;
  readonly here: Workspace;
  readonly agentKey: string;
  run(...command: readonly string[]): ReturnType<typeof launch>;
  /** Of every token of the agent: whether it was taken back. */
  tokens(): Promise<readonly boolean[]>;
  /** Of every token, from its making to its end. `ms` */
  lives(): Promise<readonly number[]>;
}

const startStage = async (): Promise<Stage> => {
  const front = await startVaultFront();
  closers.push(() => front.close());
  const store = createWorkspace();
  closers.push(() => store.remove());
  store.write("vault.yaml", `version: 1\nlisten: 127.0.0.1:0\nstate: ./.sidekey\npublic_url: ${front.url}\n`);
  const made = await store.sidekey(["vault", "init", "--json"]);
  const { operator_key: operatorKey } = JSON.parse(made.stdout) as { operator_key: string };
  const vault = await serveVault([], { cwd: store.path });
  closers.push(() => vault.stop());
  front.setTarget(vault.address);
  const call = async (method: string, path: string, body?: object): Promise<Record<string, unknown>> => {
    const answer = await fetch(vault.address + path, {
      method,
      headers: { authorization: `Bearer ${operatorKey}`, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return (await answer.json()) as Record<string, unknown>;
  };
  await call("PUT", `/v1/secrets/${PATH}`, { value: VALUE });
  const agent = await call("POST", "/v1/agents", { name: "a", allowed_scopes: ["secrets:use:production/*"] });
  const agentKey = String(agent["api_key"]);
  const upstream = await startUpstream();
  closers.push(() => upstream.close());
  const here = createWorkspace();
  closers.push(() => here.remove());
  here.write("ca.pem", front.ca);
  here.write(
    "sidekey.yaml",
    `version: 1\nroutes:\n  api: { match: "http://127.0.0.1:${upstream.port}/**", secret: "${PATH}" }\n`,
  );
  return {
    front,
    here,
    agentKey,
    run(...command) {
      const child = launch(["run", "--vault", front.url, "--ca", "ca.pem", "--", ...command], {
        cwd: here.path,
        environment: { ASS_AGENT_KEY: agentKey },
      });
      closers.push(() => void child.kill("SIGKILL"));
      return child;
    },
    async lives() {
      const { items } = await call("GET", "/v1/tokens");
      const times = items as Record<"issued_at" | "expires_at", string>[];
      return times.map(({ issued_at, expires_at }) => Date.parse(expires_at) - Date.parse(issued_at));
    },
    async tokens() {
      const { items } = await call("GET", "/v1/tokens");
      return (items as Record<string, unknown>[]).map((one) => one["revoked_at"] !== undefined);
    },
  };
};

/** Nothing of a run that has ended. */
const leftBehind = (here: Workspace): readonly string[] =>
  existsSync(here.at(".sidekey/run")) ? readdirSync(here.at(".sidekey/run")) : [];

/** A promise, and what settles it. */
const gate = () => {
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
};

describe("a signal while `run` starts", () => {
  it.each([
    ["SIGTERM", 143, "POST /v1/tokens"],
    ["SIGINT", 130, "POST /v1/redeem"],
    ["SIGHUP", 129, "POST /v1/redeem"],
    ["SIGTERM", 143, "POST /v1/redeem"],
  ] as const)("(%s, exit %i, during %s) starts no program and gives the token back", async (signal, code, phase) => {
    const { front, run, tokens, here } = await startStage();
    const reached = gate();
    const goOn = gate();
    front.setMeddle(({ what, holdAnswer }) => {
      if (what === phase) {
        reached.open();
        holdAnswer(goOn.passed);
      }
      return false;
    });
    const child = run("sh", "-c", "echo started");
    const end = finished(child);
    await reached.passed;
    // Where its answer is held the vault has made the token already.
    await expect.poll(tokens).toEqual([false]);
    child.kill(signal);
    goOn.open();
    const { code: ended, stdout } = await end;
    expect([ended, stdout]).toEqual([code, ""]);
    expect(await tokens()).toEqual([true]);
    expect(leftBehind(here)).toEqual([]);
  });
});

describe("a signal while `run` ends", () => {
  it("does not keep the token from being given back, and the program's code is its own", async () => {
    const { front, run, tokens, here } = await startStage();
    const reached = gate();
    const goOn = gate();
    front.setMeddle(({ what }) => {
      if (what !== "POST /v1/tokens/revoke") return false;
      reached.open();
      return goOn.passed.then(() => false);
    });
    const child = run("sh", "-c", "exit 7");
    const end = finished(child);
    await reached.passed;
    child.kill("SIGTERM");
    // It has been told by the time that it answers to anything else.
    await new Promise((resolve) => setTimeout(resolve, 200));
    goOn.open();
    expect((await end).code).toBe(7);
    expect(await tokens()).toEqual([true]);
    expect(leftBehind(here)).toEqual([]);
  });
});

describe("a program that takes no notice of signals", () => {
  it("goes on behind its sidecar, and the token ends with it", async () => {
    const { run, tokens } = await startStage();
    const child = run("sh", "-c", "trap '' TERM HUP INT; echo up; read line; echo $line");
    const end = finished(child);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGTERM"] as const) child.kill(signal);
    expect(await tokens()).toEqual([false]);
    child.stdin?.end("still here\n");
    expect(await end).toMatchObject({ code: 0, stdout: "up\nstill here\n" });
    expect(await tokens()).toEqual([true]);
  });
});

describe("a run that is killed", () => {
  it("leaves a token that ends within ten minutes, and nothing that takes another one", async () => {
    const { run, front, tokens, lives } = await startStage();
    const child = run("sh", "-c", "echo up; read line");
    const end = finished(child);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    child.kill("SIGKILL");
    child.stdin?.end();
    await end;
    expect(await tokens()).toEqual([false]);
    expect(await lives()).toEqual([600_000]);
    expect(front.calls.filter((call) => call === "POST /v1/tokens")).toHaveLength(1);
  });
});

describe("two runs at once, in a directory that is new to both", () => {
  it("share one key, and the first to end takes nothing from the other", async () => {
    const { run, tokens, here, front } = await startStage();
    const command = ["sh", "-c", "echo up; read line; echo $line"];
    const first = run(...command);
    const second = run(...command);
    const ends = [finished(first), finished(second)];
    await Promise.all([first, second].map((child) => new Promise((resolve) => child.stdout?.once("data", resolve))));
    expect(await tokens()).toEqual([false, false]);
    first.stdin?.end("one\n");
    expect(await ends[0]).toMatchObject({ code: 0, stdout: "up\none\n" });
    expect([...(await tokens())].sort()).toEqual([false, true]);
    second.stdin?.end("two\n");
    expect(await ends[1]).toMatchObject({ code: 0, stdout: "up\ntwo\n" });
    expect(await tokens()).toEqual([true, true]);
    expect(leftBehind(here)).toEqual([]);
    expect(front.calls.filter((call) => call === "POST /v1/sidecars")).toHaveLength(2);
    for (const name of readdirSync(here.at(".sidekey"))) {
      const { mode } = statSync(here.at(`.sidekey/${name}`));
      expect([name, mode & 0o077]).toEqual([name, 0]);
    }
  });
});

describe("a vault that does not answer any more", () => {
  it("does not keep `run` from ending with its program's code", async () => {
    const { run, front } = await startStage();
    const child = run("sh", "-c", "echo up; read line; exit 7");
    const end = finished(child);
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    front.setMeddle(() => new Promise(() => {}));
    child.stdin?.end("\n");
    expect((await end).code).toBe(7);
  });

  it("ends at the second signal, where nobody wants to wait for it", async () => {
    const { run, front } = await startStage();
    const reached = gate();
    front.setMeddle(() => {
      reached.open();
      return new Promise(() => {});
    });
    const child = run("true");
    const end = finished(child);
    await reached.passed;
    child.kill("SIGINT");
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(child.exitCode).toBe(null);
    child.kill("SIGINT");
    expect((await end).code).toBe(130);
  });
});
