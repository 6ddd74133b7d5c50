/** docs/operations.md, typed as it stands beside a vault server and a sidecar that run. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { cleanEnvironment, type Finished, finished, type Running, startSidekey } from "../support/program.ts";
import { type RunningVault, serveVault } from "../support/vault/vault-process.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";
import { makeDirectory } from "./clients/quick-starts.ts";

const TEXT = readFileSync(join(import.meta.dirname, "../../docs/operations.md"), "utf8");
const OLD_KEY = "sk-canary-operations-5b0c7d91e2f8463a";
const NEW_KEY = "sk-canary-operations-a94e1d6730bc58f2";

/** By the title of its section: the commands of each `sh` block. */
const RUNBOOKS = new Map(
  TEXT.split(/^## /m)
    .slice(1)
    .map((part) => [
      part.split("\n", 1)[0] ?? "",
      [...part.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, commands = ""]) => commands),
    ]),
);

let work: Workspace;
let vault: RunningVault;
let sidecar: Running;
let tokenId = "";

const startSidecar = (): Promise<Running> => startSidekey([], { cwd: work.path });

const shell = (script: string): Promise<Finished> =>
  finished(
    spawn("bash", ["--norc", "-euo", "pipefail", "-c", script], {
      cwd: work.path,
      env: cleanEnvironment({
        HOME: work.path,
        PATH: `${work.at("bin")}:${process.env["PATH"]}`,
        VAULT: vault.address,
        NEW_KEY,
        TOKEN_ID: tokenId,
      }),
    }),
  );

const type = async (script: string): Promise<string> => {
  const { code, stdout, stderr } = await shell(script);
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout + stderr).not.toContain(OLD_KEY);
  expect(stdout + stderr).not.toContain(NEW_KEY);
  return stdout;
};

/** What the blocks of a section print; `between` comes before the second. */
const follow = async (title: string, between: () => Promise<unknown> = async () => {}): Promise<string> => {
  const [first = "", ...others] = RUNBOOKS.get(title) ?? [];
  expect(first, title).not.toBe("");
  let printed = await type(first);
  for (const [at, script] of others.entries()) {
    if (at === 0) await between();
    printed += await type(script);
  }
  return printed;
};

beforeAll(async () => {
  work = createWorkspace();
  makeDirectory(work.path);
  work.write("vault.yaml", "version: 1\nlisten: 127.0.0.1:0\n");
  work.write(
    "sidekey.yaml",
    'version: 1\nlisten: { proxy: "127.0.0.1:0" }\nroutes:\n  api.openai.com: production/openai/api-key\n',
  );
  const { stdout } = await work.sidekey(["vault", "init", "-c", "vault.yaml"]);
  work.write("operator.key", /ask_op_[\w-]+/.exec(stdout)?.[0] ?? "");
  await work.sidekey(["secret", "set", "production/openai/api-key", "--host", "api.openai.com"], { input: OLD_KEY });
  vault = await serveVault(["-c", "vault.yaml"], { cwd: work.path });
  sidecar = await startSidecar();
  const asked = await shell(
    "umask 077; sidekey agent create research --scope 'secrets:use:production/*' --vault $VAULT --key-file operator.key > research.key; " +
      "sidekey token issue --scope 'secrets:use:production/*' --vault $VAULT --key-file research.key > token; " +
      "sidekey token inspect --json < token",
  );
  expect(asked.code, asked.stderr).toBe(0);
  tokenId = /"id":"([\w-]+)"/.exec(asked.stdout)?.[1] ?? "";
});
afterAll(() => work.remove());

it("every runbook with commands is followed here", () => {
  expect([...RUNBOOKS].filter(([, blocks]) => blocks.length > 0).map(([title]) => title)).toEqual([
    "The audit, shipped",
    "Backup, and a drill",
    "A secret that leaked",
    "A token, or an agent's key, that leaked",
    "A new key for the vault",
    "A new CA",
    "A CA key that leaked",
    "Lost",
  ]);
});

it("the audit that a server exports verifies elsewhere", async () => {
  expect(await follow("The audit, shipped")).toMatch(/shipped\.ndjson: intact, [1-9]/);
});

it("a backup comes back as it was, beside the vault that runs", async () => {
  expect(await follow("Backup, and a drill")).toMatch(/^backed up 1 secret [\s\S]*\nrestored 1 secret /);
  expect(existsSync(work.at("drill"))).toBe(false);
});

it("a secret that leaked has a new value at once", async () => {
  expect(await follow("A secret that leaked")).toMatch(/^rotated \S+ to version 2[\s\S]*secret\.rotated/);
  const { stdout } = await work.sidekey(["secret", "get", "production/openai/api-key", "--reveal"]);
  expect(stdout).toBe(`${NEW_KEY}\n`);
});

it("a token and an agent's key that leaked are worth nothing, and the agent has a new key", async () => {
  const old = readFileSync(work.at("research.key"), "utf8");
  expect(await follow("A token, or an agent's key, that leaked")).toContain("revoked research");
  expect(readFileSync(work.at("research.key"), "utf8")).not.toBe(old);
  const issue = "sidekey token issue --scope 'secrets:use:production/*' --vault $VAULT --key-file";
  await type(`${issue} research.key`);
  work.write("old.key", old);
  expect((await shell(`${issue} old.key`)).stderr).toContain("CLIENT_UNAUTHORIZED");
});

it("a vault gets a new key while both run, and a backup that opens with it", async () => {
  expect(await follow("A new key for the vault")).toMatch(/^sealed \d+ rows with the new key\nbacked up 1 secret /);
  expect(readFileSync(work.at("keys/vault.key"))).not.toEqual(readFileSync(work.at("keys/vault.key.before")));
});

it("a new CA signs, and the files for agents hold it", async () => {
  const before = readFileSync(work.at(".sidekey/ca.key"));
  expect(await follow("A new CA")).toContain("ca-bundle.pem");
  expect(readFileSync(work.at(".sidekey/ca.key"))).not.toEqual(before);
  expect(readFileSync(work.at("shared/ca.pem"))).toEqual(readFileSync(work.at(".sidekey/ca.pem")));
});

it("after a leak of the CA's key there is nothing left of it", async () => {
  const [old = ""] = readFileSync(work.at("shared/ca.pem"), "utf8").split(/(?<=END CERTIFICATE-----\n)/);
  expect((await sidecar.stop()).code).toBe(0);
  await follow("A CA key that leaked", async () => {
    sidecar = await startSidecar();
  });
  const shared = readFileSync(work.at("shared/ca.pem"), "utf8");
  expect(shared).toContain("BEGIN CERTIFICATE");
  expect(shared).not.toContain(old);
});

it("an operator's key that was lost has a successor, and is worth nothing", async () => {
  expect(await follow("Lost")).toMatch(/operator +operator +revoked[\s\S]*anna +operator +active/);
  expect((await shell('sidekey agent list --vault "$VAULT" --key-file operator.key')).stderr).toContain(
    "CLIENT_UNAUTHORIZED",
  );
});
