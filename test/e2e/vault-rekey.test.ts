/** Transcripts of `sidekey vault rekey`, also beside a sidecar that serves and other commands, and killed half-way. */
import { copyFileSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { ProxyAgent, request } from "undici";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SecretValue } from "../../src/core/secret-value.ts";
import { generateFernetKey } from "../../src/vault/barrier/fernet.ts";
import { API_URL, type Api, CANARY, createApi } from "../support/api.ts";
import { finished, launch, startSidekey } from "../support/program.ts";
import { withVault } from "../support/vault/open-vault.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const PATH = "production/x/key";

const keysOf = (work: Workspace): readonly string[] =>
  readFileSync(work.at(".sidekey/vault.key"), "utf8").trim().split("\n");

const adminRecords = (work: Workspace): string[] =>
  readFileSync(work.at(".sidekey/audit-operator.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .filter(({ type }) => type === "admin")
    .map(({ reason, outcome, code }) => `${String(reason).split(" by ")[0]} ${code ?? outcome ?? "begins"}`);

describe("vault rekey", () => {
  let work: Workspace;
  beforeEach(() => {
    work = createWorkspace();
  });
  afterEach(() => work.remove());

  it("gives a new key, says where the old one was, and is on record", async () => {
    await work.sidekey(["secret", "set", PATH], { input: CANARY });
    const [old = ""] = keysOf(work);
    const done = await work.sidekey(["vault", "rekey"]);
    expect(done.code, done.stderr).toBe(0);
    expect(done.stdout).toMatch(/^sealed \d+ rows with the new key\n$/);
    expect(done.stderr).toBe(
      `sidekey: the old key has left ${work.at(".sidekey/vault.key")}: backups and copies of before open with it alone, so keep it ` +
        "with them, if you have it\n",
    );
    const [fresh = "", ...others] = keysOf(work);
    expect(others).toEqual([]);
    expect(fresh).not.toBe(old);
    expect(done.stdout + done.stderr).not.toContain(fresh.slice(0, 20));
    expect((await work.sidekey(["secret", "get", PATH, "--reveal"])).stdout.trimEnd()).toBe(CANARY);
    expect(adminRecords(work)).toEqual(["vault rekey of local begins", "vault rekey of local ok"]);
    expect((await work.sidekey(["audit", "verify"])).code).toBe(0);

    const json = JSON.parse((await work.sidekey(["vault", "rekey", "--json"])).stdout);
    expect(json).toEqual({
      source: "local",
      rows: expect.any(Number),
      resumed: false,
      key: { file: work.at(".sidekey/vault.key") },
    });
  });

  it("is refused with one key of a variable, with what to do, and done with two", async () => {
    const [old, fresh] = [generateFernetKey(), generateFernetKey()];
    await work.sidekey(["secret", "set", PATH], { input: CANARY, environment: { FERNET_SECRET_KEY: old } });
    const refused = await work.sidekey(["vault", "rekey"], { environment: { FERNET_SECRET_KEY: old } });
    expect([refused.code, refused.stdout]).toEqual([2, ""]);
    expect(refused.stderr).toContain("sidekey: CONFIG_USAGE: ");
    expect(refused.stderr).toContain("Set FERNET_SECRET_KEY to the new key, a comma, and the old key");
    const both = { FERNET_SECRET_KEY: `${fresh},${old}` };
    const done = await work.sidekey(["vault", "rekey"], { environment: both });
    expect(done.code, done.stderr).toBe(0);
    expect(done.stdout).toContain("with the first of several keys");
    const alone = { FERNET_SECRET_KEY: fresh };
    const got = await work.sidekey(["secret", "get", PATH, "--reveal"], { environment: alone });
    expect(got.stdout.trimEnd()).toBe(CANARY);
    expect(adminRecords(work)).toContain("vault rekey of local CONFIG_USAGE");
    for (const text of [refused.stderr, done.stdout, done.stderr]) expect(text).not.toMatch(/[\w-]{43}=/);
  });

  it("is refused where there is no vault, and where another source would lose its key", async () => {
    const none = await work.sidekey(["vault", "rekey"]);
    expect([none.code, none.stdout]).toEqual([2, ""]);
    expect(none.stderr).toContain("There is no vault in ");

    const sources = (key: string) => `version: 1
sources: { one: { kind: local }, two: { kind: local, path: ./two${key} } }
`;
    work.write("sidekey.yaml", sources(""));
    for (const source of ["one", "two"]) {
      await work.sidekey(["secret", "set", PATH, "--source", source], { input: CANARY });
    }
    const shared = await work.sidekey(["vault", "rekey", "--source", "one"]);
    expect([shared.code, shared.stdout]).toEqual([2, ""]);
    expect(shared.stderr).toContain("'one' and 'two' have one key file");
    expect(keysOf(work)).toHaveLength(1);

    copyFileSync(work.at(".sidekey/vault.key"), work.at("two.key"));
    work.write("sidekey.yaml", sources(", key: { file: ./two.key }"));
    for (const source of ["one", "two"]) {
      expect((await work.sidekey(["vault", "rekey", "--source", source])).code).toBe(0);
      const got = await work.sidekey(["secret", "get", PATH, "--reveal", "--source", source]);
      expect(got.stdout.trimEnd()).toBe(CANARY);
    }
  });
});

describe("vault rekey beside a sidecar that serves", () => {
  let api: Api;
  beforeEach(async () => {
    api = await createApi((_, response) => void response.end("fine"));
  });
  afterEach(() => api.close());

  it("costs no request its answer or its key, nor others their changes, also when it is killed", {
    timeout: 180_000,
  }, async () => {
    const { work, upstream } = api;
    await withVault(work.path, (vault) =>
      vault.secrets.importAll(
        Array.from({ length: 400 }, (_, n) => ({ path: `kept/s${n}`, value: SecretValue.fromText(`value-${n}`) })),
      ),
    );
    const running = await startSidekey([], { cwd: work.path });
    const dispatcher = new ProxyAgent({
      uri: `http://${String(running.ready["proxy"])}`,
      requestTls: { ca: readFileSync(work.at(".sidekey/ca.pem"), "utf8") },
    });
    const answers: string[] = [];
    let going = true;
    const asking = (async () => {
      for (; going; await pause(5)) {
        const { statusCode, body } = await request(API_URL, { dispatcher });
        answers.push(`${statusCode} ${await body.text()}`);
      }
    })();
    let changes = 0;
    const changing = (async () => {
      for (; going; changes += 1) {
        // The same value again, in a new version: the sidecar fetches it anew, with the key of that moment.
        const { code, stderr } = await work.sidekey(["secret", "set", PATH], { input: CANARY });
        expect(code, stderr).toBe(0);
      }
    })();
    try {
      const first = keysOf(work);
      for (let kill = 0; kill < 3; kill += 1) {
        const child = launch(["vault", "rekey"], { cwd: work.path });
        const end = finished(child);
        let ended = false;
        void end.then(() => {
          ended = true;
        });
        const before = keysOf(work)[0];
        while (!ended && keysOf(work)[0] === before && keysOf(work).length < 2) await pause(1);
        await pause(Math.random() * 60);
        child.kill("SIGKILL");
        await end;
      }
      const last = await work.sidekey(["vault", "rekey"]);
      expect(last.code, last.stderr).toBe(0);
      const keys = keysOf(work);
      expect(keys).toHaveLength(1);
      expect(keys).not.toEqual(first);
    } finally {
      going = false;
      await Promise.all([asking, changing]);
      await dispatcher.close();
      await running.stop();
    }
    expect(new Set(answers)).toEqual(new Set(["200 fine"]));
    const used = upstream.requests.map((received) => received.header("authorization")[0]);
    expect(new Set(used)).toEqual(new Set([`Bearer ${CANARY}`]));
    expect(changes).toBeGreaterThan(0);
    await withVault(work.path, async (vault) => {
      for (let n = 0; n < 400; n += 1) {
        expect((await vault.secrets.get(`kept/s${n}`)).value.lend(String)).toBe(`value-${n}`);
      }
    });
    expect((await work.sidekey(["audit", "verify"])).code).toBe(0);
  });
});
