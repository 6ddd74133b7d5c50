/**
 * A vault server whose store cannot grow any more: what is asked then is refused with a code, what was acknowledged before
 * is there, nothing is half there, and it goes on by itself when there is room.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type RunningVault, serveVault } from "../support/vault/vault-process.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

/** Of a value; more than a row has room for in a page that is there. `bytes` */
const LARGE = 40_000;
const ROUNDS = 60;

let work: Workspace;
let vault: RunningVault;
let key = "";

const serve = async (): Promise<void> => {
  vault = await serveVault([], { cwd: work.path });
};

beforeEach(async () => {
  work = createWorkspace();
  work.write("vault.yaml", "version: 1\nlisten: 127.0.0.1:0\nstate: ./.sidekey\naudit: { sync: never }\n");
  const made = await work.sidekey(["vault", "init", "--json"]);
  key = (JSON.parse(made.stdout) as { operator_key: string }).operator_key;
  await serve();
});
afterEach(() => work.remove());

interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: { readonly value?: string; readonly error?: { readonly code: string } };
}

const call = async (method: string, path: string, body?: object): Promise<Answer> => {
  const answer = await fetch(vault.address + path, {
    method,
    headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return {
    status: answer.status,
    retryAfter: answer.headers.get("retry-after"),
    body: text === "" ? {} : (JSON.parse(text) as Answer["body"]),
  };
};

const textOf = (n: number): string => `${n}-`.padEnd(LARGE, "v");
const put = (n: number): Promise<Answer> =>
  call("PUT", `/v1/secrets/p/s${n}`, { value: textOf(n), secret_type: "custom" });

/** No file of it may pass this length; undefined: any may. */
const limitFiles = (bytes: number | undefined): void => {
  execFileSync("prlimit", [`--pid=${vault.pid}`, `--fsize=${bytes ?? "unlimited"}:`]);
};

const REFUSED = { status: 503, body: { error: { code: "STORE_UNAVAILABLE" } } };

const hasPrlimit = spawnSync("prlimit", ["--version"]).status === 0 || process.env["SIDEKEY_TEST_ALL"] === "1";
const why = hasPrlimit ? "" : " (no prlimit here)";

describe.skipIf(!hasPrlimit)(`a vault server whose store has no room${why}`, () => {
  it("refuses what it cannot store, goes on serving, and stores again when there is room", async () => {
    const acknowledged: number[] = [];
    for (let n = 0; n < 3; n += 1) {
      expect((await put(n)).status).toBe(201);
      acknowledged.push(n);
    }
    const refused: number[] = [];
    limitFiles(statSync(work.at(".sidekey/vault/data.mdb")).size + 3 * LARGE);
    for (let n = 3; n < ROUNDS && refused.length < 12; n += 4) {
      // Several at once may share a commit.
      const answers = await Promise.all([n, n + 1, n + 2, n + 3].map(put));
      for (const [at, answer] of answers.entries()) {
        if (answer.status === 201) acknowledged.push(n + at);
        else {
          expect(answer).toMatchObject(REFUSED);
          expect(Number(answer.retryAfter)).toBeGreaterThan(0);
          refused.push(n + at);
        }
      }
    }
    expect(refused.length).toBeGreaterThan(3);
    const check = async (): Promise<void> => {
      for (const n of acknowledged) expect((await call("GET", `/v1/secrets/p/s${n}`)).body.value).toBe(textOf(n));
      for (const n of refused) expect((await call("GET", `/v1/secrets/p/s${n}`)).status).toBe(404);
    };
    await check();
    limitFiles(undefined);
    for (const n of refused.splice(0)) {
      expect((await put(n)).status).toBe(201);
      acknowledged.push(n);
    }
    expect((await call("GET", "/v1/health")).status).toBe(200);
    await check();
    // What is on the disk is what it answered.
    expect((await vault.stop()).code).toBe(0);
    await serve();
    await check();
    expect((await vault.stop()).code).toBe(0);
  });
});
