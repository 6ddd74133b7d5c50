/** `sidekey reload` and `sidekey status` against a running `start`, as an operator uses them. */
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cleanEnvironment, finished, launch, MAIN, type Running, startSidekey } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const FILE = 'version: 1\nlisten: { proxy: "127.0.0.1:0" }\nroutes:\n  api.example.test: production/x/key\n';
const CANARY = "canary-2c90fa1e6d7b3385";

let work: Workspace;
let running: Running | undefined;
beforeEach(() => {
  work = createWorkspace();
  work.write("sidekey.yaml", FILE);
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  work.remove();
});

const start = async (): Promise<Running> => {
  running = await startSidekey([], { cwd: work.path });
  return running;
};

describe("reload", () => {
  it("prints the number of the generation, for people and for programs", async () => {
    await start();
    expect(await work.sidekey(["reload"])).toEqual({ code: 0, stdout: "generation 2\n", stderr: "" });
    const json = await work.sidekey(["reload", "--json"]);
    expect([json.code, JSON.parse(json.stdout)]).toEqual([0, { generation: 3 }]);
  });

  it("prints the problems of a file that is wrong as check does, ends with 1, and the sidecar goes on", async () => {
    await start();
    appendFileSync(work.at("sidekey.yaml"), "agnt: x\n");
    const checked = await work.sidekey(["check"]);
    const result = await work.sidekey(["reload"]);
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toContain(checked.stderr.split("\nsidekey:")[0]);
    expect(result.stderr).toContain("what was there before goes on");
    const json = await work.sidekey(["reload", "--json"]);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({ problems: [{ path: "agnt", line: 5 }] });
    expect(JSON.parse((await work.sidekey(["status", "--json"])).stdout)).toMatchObject({ generation: 1 });
  });

  it("finds the socket that the file names, and the one of a file elsewhere", async () => {
    work.write("sidekey.yaml", FILE.replace("listen: {", "listen: { admin: unix:./own.sock,"));
    expect((await start()).ready["admin"]).toBe(`unix:${work.at("own.sock")}`);
    expect(statSync(work.at("own.sock")).mode & 0o777).toBe(0o600);
    const result = await work.sidekey(["reload", "-c", work.at("sidekey.yaml")], { environment: { HOME: "/" } });
    expect(result).toMatchObject({ code: 0, stdout: "generation 2\n" });
  });

  it.each([["reload"], ["status"], ["status --ready"]])(
    "%s ends with 1 where nothing runs, and says what to do",
    async (line) => {
      const result = await work.sidekey(line.split(" "));
      expect(result).toMatchObject({ code: 1, stdout: "" });
      expect(result.stderr).toContain("sidekey: CONFIG_NOT_RUNNING: No sidecar answers for this file.");
      expect(result.stderr).toContain("hint: Start one: sidekey start.");
    },
  );

  it("ends with 1 where a sidecar was killed, and the next start takes the socket over", async () => {
    const first = await start();
    await first.stop("SIGKILL");
    expect(existsSync(work.at(".sidekey/admin.sock"))).toBe(true);
    const result = await work.sidekey(["reload"]);
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toContain("a sidecar was here and has gone");
    await start();
    expect((await work.sidekey(["reload"])).code).toBe(0);
  });

  it("is refused inside a run", async () => {
    const result = await work.sidekey(["reload"], { environment: { SIDEKEY_RUN: "x" } });
    expect(result).toMatchObject({ code: 2, stdout: "" });
  });
});

describe("status", () => {
  it("shows the process, the listeners, the file and each secret, never a value", async () => {
    await work.sidekey(["secret", "set", "production/x/key"], { input: CANARY });
    const { ready } = await start();
    expect((await work.sidekey(["status", "--ready"])).stdout).toBe("ready\n");
    const { code, stdout } = await work.sidekey(["status"]);
    expect(code).toBe(0);
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(new RegExp(`^sidekey \\d+\\.\\d+\\.\\d+, process ${ready["pid"]}, up \\d+s$`));
    expect(lines[1]).toBe(`file     ${work.at("sidekey.yaml")}, generation 1`);
    expect(lines.slice(2, 4)).toEqual([`proxy    ${ready["proxy"]}`, `admin    ${ready["admin"]}`]);
    expect(lines.at(-3)).toMatch(/^SECRET +VERSION +AGE +STATE +ROUTES$/);
    expect(lines.at(-2)).toMatch(/^local:production\/x\/key +1 +\d+s +ok +api\.example\.test$/);
    expect(stdout).not.toContain(CANARY);
  });

  it("works while the file has problems: then somebody wants to know most", async () => {
    await start();
    appendFileSync(work.at("sidekey.yaml"), "agnt: x\n");
    expect((await work.sidekey(["status"])).code).toBe(0);
  });

  it("--ready ends with 1 and the reasons while a source refuses", async () => {
    const issued = await work.sidekey(["token", "issue", "--scope", "secrets:use:production/x/*", "--ttl", "1s"]);
    work.write("agent.token", issued.stdout);
    work.write("sidekey.yaml", `${FILE}sources: { local: { kind: local, token: { file: ./agent.token } } }\n`);
    await start();
    const notReady = async () => (await work.sidekey(["status", "--ready"])).stdout;
    await expect.poll(notReady).toBe("not ready: source:local\n");
    const json = await work.sidekey(["status", "--ready", "--json"]);
    expect([json.code, JSON.parse(json.stdout)]).toEqual([1, { status: "unready", reasons: ["source:local"] }]);
  });
});

describe("start", () => {
  it("reads a file that was changed by itself, and its level of logging with it", async () => {
    const { child } = await start();
    const end = finished(child);
    work.write("sidekey.yaml", `${FILE}log: { level: error }\n`);
    const generation = async () => JSON.parse((await work.sidekey(["status", "--json"])).stdout).generation;
    await expect.poll(generation).toBe(2);
    child.kill("SIGHUP");
    await expect.poll(generation).toBe(3);
    child.kill("SIGTERM");
    // Neither the reloads nor the stop: those are of level info.
    expect((await end).stderr).toBe("");
  });
});

describe("start with a pipe for its file", () => {
  it("serves, says that it cannot read it again, and does not wait for it", async () => {
    const script = `exec "$0" "$1" start -c <(cat sidekey.yaml)`;
    work.write("sidekey.yaml", `${FILE}state: ${work.at(".sidekey")}\n`);
    const child = spawn("bash", ["-c", script, process.execPath, MAIN], {
      cwd: work.path,
      env: cleanEnvironment(),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const end = finished(child);
    await new Promise<void>((resolve) => child.stdout.once("data", () => resolve()));
    const result = await work.sidekey(["reload"]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("it is no regular file, so it cannot be read again");
    child.kill("SIGTERM");
    expect((await end).code).toBe(0);
  });
});

describe("run", () => {
  it("passes HUP to its program and reads nothing again", async () => {
    const script = "trap 'echo hup; exit 7' HUP; echo up; while :; do sleep 0.1; done";
    const child = launch(["run", "--", "sh", "-c", script], { cwd: work.path });
    const end = finished(child);
    await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
    expect(existsSync(work.at(".sidekey/admin.sock"))).toBe(false);
    child.kill("SIGHUP");
    expect(await end).toMatchObject({ code: 7, stdout: "up\nhup\n" });
  });
});
