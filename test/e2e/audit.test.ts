/** `audit search`, `tail -f` and `verify` of the built program, over logs of `start`, of `run`s and over rotated files. */
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { findAuditLogs, openAudit } from "../../src/audit/index.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLog } from "../../src/core/log.ts";
import { createVaultAudit } from "../../src/vault/audit.ts";
import { API_HOST, API_URL, type Api, createApi } from "../support/api.ts";
import { finished, launch } from "../support/program.ts";

let api: Api;
beforeEach(async () => {
  api = await createApi();
});
afterEach(() => api.close());

const GET = ["sh", "-c", `curl -s -o /dev/null ${API_URL}`];
const DELETE = ["curl", "-s", "-o", "/dev/null", "-X", "DELETE", `https://${API_HOST}/other?token=query-canary`];

const run = (command: readonly string[]) => api.work.sidekey(["run", "--", ...command]);

const search = async (...filter: readonly string[]): Promise<Record<string, unknown>[]> => {
  const { code, stdout, stderr } = await api.work.sidekey(["audit", "search", "--json", ...filter]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
};

describe("audit search", () => {
  it("finds what happened in the logs of every run, by what it was, and holds no query", async () => {
    await run(GET);
    await run(DELETE);
    await run(GET);
    const typesOf = async (...filter: readonly string[]) => (await search(...filter)).map(({ type }) => type);
    const used = ["intent", "outcome", "intent", "outcome"];
    expect(await typesOf("--secret", "production/x/*")).toEqual(["secret", "secret", ...used]);
    expect(await typesOf("--secret", "local:production/x/key", "--status", "5xx")).toEqual([]);
    expect(await typesOf("--decision", "deny")).toEqual(["refusal"]);
    expect(await typesOf("--code", "POLICY_NO_ROUTE", "--agent", "default")).toEqual(["refusal"]);
    expect(await typesOf("--route", "api", "--limit", "1")).toEqual(["outcome"]);
    expect(await typesOf("--since", "1h", "--type", "start", "--agent", "default")).toHaveLength(4);
    expect(await typesOf("--until", "1h")).toEqual([]);
    const [intent] = await search("--type", "intent");
    expect(await typesOf("--request", String(intent?.["request_id"]))).toEqual(["intent", "outcome"]);
    const all = await search();
    const times = all.map(({ time }) => String(time));
    expect(times).toEqual(times.toSorted());
    expect(JSON.stringify(all)).not.toContain("query-canary");

    const text = await api.work.sidekey(["audit", "search", "--decision", "deny"]);
    expect(text.stdout).toMatch(
      /^\S+Z {2}default {2}refusal {2}deny {2}DELETE {2}api\.example\.test:443\/other {2}POLICY_NO_ROUTE {2}403 {2}refused {2}\S+\n$/,
    );
    const none = await api.work.sidekey(["audit", "search", "--agent", "nobody"]);
    expect(none).toEqual({ code: 0, stdout: "", stderr: "sidekey: no audit record matches\n" });
    const wrong = await api.work.sidekey(["audit", "search", "--since", "soon"]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("CONFIG_USAGE");
  });

  it("reads a log that is larger than its memory, and goes on behind what is no record", async () => {
    await run(GET);
    const logs = findAuditLogs(api.work.at(".sidekey"), api.work.at(".sidekey/audit.jsonl"));
    // What `secret set` left is no part of this.
    for (const name of ["audit-operator.jsonl", "audit-operator.head"]) rmSync(api.work.at(`.sidekey/${name}`));
    const log = logs.find(({ run: id }) => id !== undefined && id !== "operator");
    const lines = readFileSync(log?.path ?? "", "latin1")
      .trimEnd()
      .split("\n");
    const block = `${lines.join("\n")}\n`.repeat(20_000);
    const main = api.work.at(".sidekey/audit.jsonl");
    for (const file of [`${main}.2`, `${main}.1`, main]) {
      writeFileSync(file, block);
      appendFileSync(file, "no record\n");
    }
    const parts = { nodeArguments: ["--max-old-space-size=48"] };
    const filter = ["--code", "POLICY_NO_ROUTE"];
    const { code, stdout, stderr } = await api.work.sidekey(["audit", "search", ...filter], parts);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain(`${main}.2: line ${20_000 * lines.length + 1} is not a record`);
    expect(stderr).toContain("3 lines are not records");
    const { stdout: last } = await api.work.sidekey(["audit", "search", "--route", "api", "--limit", "500"], parts);
    expect(last.split("\n")).toHaveLength(501);
  });
});

describe("the log of a vault's server", () => {
  const record = async (state: string, key = join(state, "audit.key")): Promise<void> => {
    const broker = await openAudit({
      path: join(state, "vault-audit.jsonl"),
      keyPath: key,
      sync: "never",
      maxSize: 1e9,
      keep: 3,
      clock: systemClock,
      log: silentLog,
      agent: "vault",
      lock: true,
    });
    const audit = createVaultAudit({ broker, clock: systemClock, log: silentLog });
    const actor = { type: "token", id: "t1", agent: "researcher" } as const;
    const secret = "production/tavily/api-key";
    await audit.record({ event: "secret.read", actor, secret, agentName: "planner", reason: "web search" });
    await audit.record({ event: "secret.read.denied", actor, secret, code: "IDENTITY_SCOPE_DENIED", status: 403 });
    await audit.close();
  };

  it("is read beside the others, and alone by its own file", async () => {
    await record(api.work.at(".sidekey"));
    const eventsOf = async (...filter: readonly string[]) =>
      (await search("--event", "secret.read*", ...filter)).map(({ event }) => event);
    expect(await eventsOf()).toEqual(["secret.read", "secret.read.denied"]);
    expect(await eventsOf("--actor", "t1", "--type", "refusal", "--secret", "production/*")).toEqual([
      "secret.read.denied",
    ]);
    expect(await eventsOf("--actor", "t2")).toEqual([]);
    // What the commands of the embedded vault leave has the same names.
    expect(await search("--event", "secret.created")).toMatchObject([
      { actor_type: "operator", outcome: "ok", reason: expect.stringMatching(/^set by /) },
    ]);
    const verified = await api.work.sidekey(["audit", "verify"]);
    expect(verified.code).toBe(0);
    expect(verified.stdout).toContain("vault-audit.jsonl: intact, 4 records (1 to 4)\n");
    expect((await api.work.sidekey(["audit", "tail", "-n", "3"])).stdout).toContain("secret.read.denied");

    mkdirSync(api.work.at("own"), { mode: 0o700 });
    await record(api.work.at("own"), api.work.at("own.key"));
    api.work.write("vault.yaml", "version: 1\nstate: own\naudit: { key: own.key }\n");
    const own = await search("-c", "vault.yaml");
    expect(own.map(({ type }) => type)).toEqual(["start", "secret", "refusal", "stop"]);
    expect(await api.work.sidekey(["audit", "verify", "-c", "vault.yaml"])).toMatchObject({
      code: 0,
      stdout: `${api.work.at("own/vault-audit.jsonl")}: intact, 4 records (1 to 4)\n`,
    });
  });

  it("verifies as it was exported, whole or from anywhere, and not with a line missing", async () => {
    await record(api.work.at(".sidekey"));
    const lines = readFileSync(api.work.at(".sidekey/vault-audit.jsonl"), "utf8").split("\n").slice(0, -1);
    const verify = (part: readonly string[]) => {
      api.work.write("exported.ndjson", part.map((line) => `${line}\n`).join(""));
      return api.work.sidekey(["audit", "verify", "exported.ndjson"]);
    };
    expect(await verify(lines)).toEqual({
      code: 0,
      stdout: "exported.ndjson: intact, 4 records (1 to 4)\n",
      stderr: "",
    });
    expect((await verify(lines.slice(2))).stdout).toBe("exported.ndjson: intact, 2 records (3 to 4)\n");
    expect(await verify(lines.toSpliced(1, 1))).toMatchObject({
      code: 1,
      stdout: expect.stringContaining("BROKEN at record 2"),
    });
    const absent = await api.work.sidekey(["audit", "verify", "no-such.ndjson"]);
    expect(absent.code).toBe(1);
    expect(absent.stderr).toContain("AUDIT_UNREADABLE");
  });
});

describe("audit tail -f", () => {
  it("follows runs that begin later", async () => {
    const follower = launch(["audit", "tail", "-f", "-n", "0", "--json"], { cwd: api.work.path });
    const end = finished(follower);
    const types: string[] = [];
    // It may begin to watch in the middle of a run, whose earlier records it then owes nobody: the first whole one counts.
    const whole = () => (types.includes("start") ? types.slice(types.indexOf("start")) : []);
    let isSeen = false;
    const seen = new Promise<void>((resolve) => {
      createInterface({ input: follower.stdout ?? process.stdin }).on("line", (line) => {
        types.push(JSON.parse(line).type);
        if (!whole().includes("stop")) return;
        isSeen = true;
        resolve();
      });
    });
    while (!isSeen) await Promise.race([run(GET), seen]);
    follower.kill("SIGINT");
    expect((await end).code).toBe(130);
    const aRun = ["start", "intent", "outcome", "stop"];
    expect(whole().slice(0, 4)).toEqual(aRun);
    const before = types.slice(0, types.indexOf("start"));
    expect(before).toEqual(aRun.slice(aRun.length - before.length));
  });
});

describe("audit verify", () => {
  it("names the first bad record, says after which one a log was cut, and what to do where its key is gone", async () => {
    await run(GET);
    const logs = findAuditLogs(api.work.at(".sidekey"), api.work.at(".sidekey/audit.jsonl"));
    // What `secret set` left is no part of this.
    for (const name of ["audit-operator.jsonl", "audit-operator.head"]) rmSync(api.work.at(`.sidekey/${name}`));
    const log = logs.find(({ run: id }) => id !== undefined && id !== "operator");
    const { path = "", headPath = "" } = log ?? {};
    const whole = readFileSync(path, "latin1");
    const verify = () => api.work.sidekey(["audit", "verify"]);
    expect(await verify()).toMatchObject({ code: 0, stdout: `${path}: intact, 4 records (1 to 4)\n` });

    writeFileSync(path, whole.replace("GET", "PUT"));
    expect(await verify()).toMatchObject({ code: 1, stdout: expect.stringContaining("BROKEN at record 2.") });
    writeFileSync(path, whole.split("\n").slice(0, 2).join("\n").concat("\n"));
    expect(await verify()).toMatchObject({ code: 1, stdout: expect.stringContaining("truncated after 2") });
    rmSync(path);
    expect(await verify()).toMatchObject({ code: 1, stdout: expect.stringContaining("truncated after 0") });

    writeFileSync(path, whole, { mode: 0o600 });
    rmSync(headPath);
    const headless = await verify();
    expect(headless).toMatchObject({ code: 0, stdout: expect.stringContaining("no head") });
    rmSync(api.work.at(".sidekey/audit.key"));
    const keyless = await verify();
    expect(keyless.code).toBe(1);
    expect(keyless.stderr).toContain("AUDIT_KEY_UNREADABLE");
    expect(keyless.stderr).toContain("backup");
  });
});
