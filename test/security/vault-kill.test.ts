/**
 * R14 over HTTP: what the server has acknowledged is there after `kill -9` at any point, nothing is half there, what it
 * answered is on record, and the next one starts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeAuditFs } from "../../src/audit/file-access.ts";
import { verifyAudit } from "../../src/audit/index.ts";
import { readAuditKey } from "../../src/audit/key.ts";
import { systemClock } from "../../src/core/clock.ts";
import { openVault } from "../../src/vault/index.ts";

const PROGRAM = new URL("vault-process.ts", import.meta.url).pathname;
/** `SIDEKEY_KILLS=200` for as many as the promise names. */
const KILLS = Number(process.env["SIDEKEY_KILLS"] ?? 4);
const WRITERS = 4;

let directory = "";
let key = "";
/** Those that run, by their end. */
const programs = new Map<ChildProcess, Promise<void>>();

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "sidekey-vault-kill-"));
  writeFileSync(join(directory, "vault.yaml"), "version: 1\nlisten: 127.0.0.1:0\nstate: .\naudit: { sync: never }\n");
  const vault = await openVault({
    directory: join(directory, "vault"),
    keys: { file: join(directory, "vault.key") },
    clock: systemClock,
  });
  ({ key } = await vault.agents.create({ name: "operator", kind: "operator" }));
  await vault.close();
});

afterEach(async () => {
  for (const [program, end] of programs) {
    program.kill("SIGKILL");
    await end;
  }
  rmSync(directory, { recursive: true, force: true });
});

interface Running {
  readonly url: string;
  kill(): Promise<void>;
}

const start = async (): Promise<Running> => {
  const program = spawn(process.execPath, ["--import", "tsx", PROGRAM, join(directory, "vault.yaml")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const end = new Promise<void>((resolve) => program.once("close", () => resolve()));
  programs.set(program, end);
  void end.then(() => programs.delete(program));
  const url = await new Promise<string>((resolve, reject) => {
    createInterface({ input: program.stdout }).once("line", resolve);
    void end.then(() => reject(new Error("the server ended before it was open")));
  });
  return {
    url,
    async kill() {
      program.kill("SIGKILL");
      await end;
    },
  };
};

const call = async (url: string, method: string, path: string, body?: object) => {
  const answer = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, json: text === "" ? undefined : JSON.parse(text) };
};

/** What a writer knows of one path: versions that were acknowledged, and the value of the last one it tried. */
interface Known {
  acknowledged: number;
  value: string;
  tried: string;
}

describe("a server that is killed", () => {
  it(
    `keeps what it has acknowledged, at ${KILLS} moments`,
    async () => {
      const known = new Map<string, Known>();
      for (let round = 0; round < KILLS; round += 1) {
        const server = await start();
        const state = { isOver: false, isHeard: false };
        const write = async (writer: number): Promise<void> => {
          for (let n = 0; !state.isOver; n += 1) {
            const path = `w${writer}/key-${n % 3}`;
            const one = known.get(path) ?? { acknowledged: 0, value: "", tried: "" };
            known.set(path, one);
            one.tried = `${path} ${round} ${n}`;
            const { status, json } = await call(server.url, "PUT", `/v1/secrets/${path}`, { value: one.tried });
            if (status > 201) throw new Error(`${path}: ${status}`);
            Object.assign(one, { acknowledged: json.version, value: one.tried });
            state.isHeard = true;
          }
        };
        const writers = Array.from({ length: WRITERS }, (_, writer) =>
          write(writer).catch((error: unknown) => {
            // A connection that the kill cut is what is expected; a refusal is not.
            if (!(error instanceof TypeError)) throw error;
          }),
        );
        await expect.poll(() => state.isHeard).toBe(true);
        await pause(Math.random() * 300);
        await server.kill();
        state.isOver = true;
        await Promise.all(writers);

        const next = await start();
        for (const [path, one] of known) {
          const { status, json } = await call(next.url, "GET", `/v1/secrets/${path}`);
          if (one.acknowledged === 0 && status === 404) continue;
          expect([path, status]).toEqual([path, 200]);
          // The last one that was tried may be in as well: its answer was cut off, not its change.
          expect([one.acknowledged, one.acknowledged + 1]).toContain(json.version);
          expect(json.value).toBe(json.version === one.acknowledged ? one.value : one.tried);
          Object.assign(one, { acknowledged: json.version, value: json.value });
        }
        await next.kill();
      }
      const lines = readFileSync(join(directory, "vault-audit.jsonl"), "utf8");
      // The others it may never have got: their request was on its way when it was killed.
      const isStored = ([, { acknowledged }]: readonly [string, Known]): boolean => acknowledged > 0;
      for (const [path] of [...known].filter(isStored)) expect(lines).toContain(`"secret":"${path}"`);
      const auditKey = readAuditKey(nodeAuditFs, join(directory, "audit.key"));
      // A kill may tear the last line, and the next start mends that: the chain holds to the end.
      const closing = await start();
      await closing.kill();
      expect(await verifyAudit({ files: [join(directory, "vault-audit.jsonl")], key: auditKey })).toMatchObject({
        ok: true,
      });
    },
    60_000 + KILLS * 30_000,
  );
});
