/** Transcripts of `sidekey vault init`, `backup` and `restore`, also beside a sidecar that runs, and killed half-way. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";
import { ProxyAgent, request } from "undici";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { isSidekeyError } from "../../src/core/errors.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { openBackup, restoreVault } from "../../src/vault/index.ts";
import { API_HOST, API_URL, type Api, CANARY, createApi } from "../support/api.ts";
import { finished, launch, startSidekey } from "../support/program.ts";
import { withVault } from "../support/vault/open-vault.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const PATH = "production/x/key";

describe("without a sidecar", () => {
  let work: Workspace;
  beforeEach(() => {
    work = createWorkspace();
  });
  afterEach(() => work.remove());

  const set = (path: string, input: string) => work.sidekey(["secret", "set", path], { input });
  const reveal = async (path: string): Promise<string> =>
    (await work.sidekey(["secret", "get", path, "--reveal"])).stdout.trimEnd();
  const reasons = (): string[] =>
    readFileSync(work.at(".sidekey/audit-operator.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .filter(({ type }) => type === "admin")
      .map(({ reason, outcome }) => `${String(reason).split(" by ")[0]} ${outcome ?? "begins"}`);

  describe("vault init", () => {
    it("makes a vault and its key, says where, and is on record", async () => {
      const { code, stdout, stderr } = await work.sidekey(["vault", "init"]);
      const [vault, key, operator, ...rest] = stdout.split("\n");
      expect(code).toBe(0);
      expect(vault).toBe(`vault  ${work.at(".sidekey/vault")} (made)`);
      expect(key).toBe(`key    ${work.at(".sidekey/vault.key")} (made)`);
      expect(operator).toMatch(/^operator key {2}ask_op_[\w-]{43}$/);
      expect(rest).toEqual([""]);
      expect(stderr).toBe(
        "sidekey: the operator key is shown this once: keep it where only you can read it; 'sidekey vault serve' asks for it\n" +
          "sidekey: whoever has the vault and its key can read every secret; without the key nobody can: keep a copy elsewhere\n",
      );
      expect(statSync(work.at(".sidekey/vault.key")).mode & 0o777).toBe(0o600);
      expect(reasons()).toEqual(["vault init of local begins", "vault init of local ok"]);
      await set(PATH, CANARY);
      expect(await reveal(PATH)).toBe(CANARY);
    });

    it("uses a key that is there, and a variable", async () => {
      const key = Buffer.alloc(32, 7).toString("base64url");
      const environment = { FERNET_SECRET_KEY: key };
      const { stdout } = await work.sidekey(["vault", "init", "--json"], { environment });
      expect(JSON.parse(stdout)).toEqual({
        source: "local",
        directory: work.at(".sidekey/vault"),
        key: { from: "variable FERNET_SECRET_KEY", made: false },
        operator_key: expect.stringMatching(/^ask_op_[\w-]{43}$/),
      });
      expect(existsSync(work.at(".sidekey/vault.key"))).toBe(false);
    });

    it("touches nothing where there is a vault", async () => {
      await set(PATH, CANARY);
      const key = readFileSync(work.at(".sidekey/vault.key"), "utf8");
      const { code, stdout, stderr } = await work.sidekey(["vault", "init"]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toContain("sidekey: VAULT_STORE_EXISTS: ");
      expect(readFileSync(work.at(".sidekey/vault.key"), "utf8")).toBe(key);
      expect(await reveal(PATH)).toBe(CANARY);
    });
  });

  describe("vault backup", () => {
    it("writes one private file without a value or the key, and says that the key is needed too", async () => {
      await set(PATH, CANARY);
      const { code, stdout, stderr } = await work.sidekey(["vault", "backup", "vault.backup"]);
      const file = work.at("vault.backup");
      expect({ code, stdout }).toEqual({ code: 0, stdout: `backed up 1 secret to ${file}, and read it back\n` });
      expect(stderr).toBe(
        `sidekey: its key is not in it, and opens it: keep a copy of ${work.at(".sidekey/vault.key")}, in another place than this file\n`,
      );
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(readFileSync(file, "utf8")).not.toContain(CANARY);
      expect(readFileSync(file, "utf8")).not.toContain(readFileSync(work.at(".sidekey/vault.key"), "utf8").trim());
      expect(readdirSync(work.path).sort()).toEqual([".sidekey", "vault.backup"]);
      expect(reasons()).toEqual([`vault backup of local to ${file} begins`, `vault backup of local to ${file} ok`]);
    });

    it("replaces an older backup, and no other file", async () => {
      await set(PATH, CANARY);
      await work.sidekey(["vault", "backup", "vault.backup"]);
      await set("production/y/key", CANARY);
      const { stdout } = await work.sidekey(["vault", "backup", "vault.backup", "--json"]);
      expect(JSON.parse(stdout)).toMatchObject({ file: work.at("vault.backup"), secrets: 2 });
      work.write("sidekey.yaml", "version: 1\n");
      for (const file of ["sidekey.yaml", ".", ".sidekey/vault.key"]) {
        const refused = await work.sidekey(["vault", "backup", file]);
        expect(refused).toMatchObject({ code: 2, stdout: "" });
        expect(refused.stderr).toContain("sidekey: CONFIG_USAGE: ");
      }
      expect(readFileSync(work.at("sidekey.yaml"), "utf8")).toBe("version: 1\n");
    });

    it("says when there is no vault, and when the file cannot be written", async () => {
      const none = await work.sidekey(["vault", "backup", "vault.backup"]);
      expect(none).toMatchObject({ code: 2, stdout: "" });
      expect(none.stderr).toContain("There is no vault in ");
      expect(readdirSync(work.path)).toEqual([]);
      await set(PATH, CANARY);
      const refused = await work.sidekey(["vault", "backup", "none/vault.backup"]);
      expect(refused).toMatchObject({ code: 1, stdout: "" });
      expect(refused.stderr).toContain("sidekey: VAULT_BACKUP_FAILED: ");
      expect(refused.stderr).toContain("ENOENT");
    });
  });

  describe("vault restore", () => {
    beforeEach(async () => {
      await set(PATH, CANARY);
      await work.sidekey(["vault", "backup", "vault.backup"]);
    });

    it("brings a lost vault back", async () => {
      rmSync(work.at(".sidekey/vault"), { recursive: true });
      const { code, stdout, stderr } = await work.sidekey(["vault", "restore", "vault.backup"]);
      expect(code).toBe(0);
      expect(stdout).toMatch(/^restored 1 secret of 20\S+Z to \S+\/\.sidekey\/vault\n$/);
      expect(stderr).toBe(
        "sidekey: a sidecar that had the vault of before open refuses requests until it is restarted\n" +
          "sidekey: tokens are in no backup: issue those anew that agents or sidecars are given by hand\n",
      );
      expect(await reveal(PATH)).toBe(CANARY);
    });

    it("takes the place of what is there with --replace only", async () => {
      await set(PATH, "newer");
      await set("production/y/key", "newer");
      const refused = await work.sidekey(["vault", "restore", "vault.backup"]);
      expect(refused).toMatchObject({ code: 1, stdout: "" });
      expect(refused.stderr).toContain("sidekey: VAULT_STORE_EXISTS: ");
      expect(refused.stderr).toContain("--replace");
      expect(await reveal(PATH)).toBe("newer");
      const { code, stdout } = await work.sidekey(["vault", "restore", "vault.backup", "--replace", "--json"]);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ secrets: 1, how: "replaced", kept_aside: null });
      expect(await reveal(PATH)).toBe(CANARY);
      expect(JSON.parse((await work.sidekey(["secret", "list", "--json"])).stdout)).toHaveLength(1);
    });

    it("is what a damaged vault's error names, and mends it", async () => {
      truncateSync(work.at(".sidekey/vault/data.mdb"), 5000);
      const damaged = await work.sidekey(["secret", "list"]);
      expect(damaged.code).toBe(2);
      expect(damaged.stderr).toContain("sidekey vault restore FILE --replace");
      const { code, stderr } = await work.sidekey(["vault", "restore", "vault.backup", "--replace"]);
      expect(code).toBe(0);
      const [, kept = ""] = /the damaged data are kept as (\S+);/.exec(stderr) ?? [];
      expect(statSync(kept).size).toBe(5000);
      expect(await reveal(PATH)).toBe(CANARY);
    });

    it.each([
      ["damaged", (text: string) => text.replace(/"sealed":"..../, '"sealed":"AAAA'), "VAULT_BAD_BACKUP"],
      ["cut short", (text: string) => text.slice(0, -10), "VAULT_BAD_BACKUP"],
      ["another file", () => `key: ${CANARY}\n`, "VAULT_BAD_BACKUP"],
    ])("changes nothing when the file is %s, with 2", async (_, change, name) => {
      const text = readFileSync(work.at("vault.backup"), "utf8");
      rmSync(work.at(".sidekey/vault"), { recursive: true });
      work.write("vault.backup", change(text));
      const { code, stdout, stderr } = await work.sidekey(["vault", "restore", "vault.backup"]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(new RegExp(`^sidekey: ${name}: [^\\n]*\\nhint: [^\\n]*\\n$`));
      expect(stderr).not.toContain(CANARY);
      expect(existsSync(work.at(".sidekey/vault"))).toBe(false);
    });

    it("needs the file, and the key of that time", async () => {
      expect((await work.sidekey(["vault", "restore", "none.backup"])).stderr).toContain("There is no file ");
      rmSync(work.at(".sidekey/vault"), { recursive: true });
      rmSync(work.at(".sidekey/vault.key"));
      const { code, stderr } = await work.sidekey(["vault", "restore", "vault.backup"]);
      expect(code).toBe(1);
      expect(stderr).toContain("sidekey: VAULT_KEY_UNREADABLE: ");
      expect(existsSync(work.at(".sidekey/vault.key"))).toBe(false);
      const environment = { FERNET_SECRET_KEY: Buffer.alloc(32, 9).toString("base64url") };
      const wrong = await work.sidekey(["vault", "restore", "vault.backup"], { environment });
      expect(wrong.code).toBe(1);
      expect(wrong.stderr).toContain("sidekey: VAULT_KEY_WRONG: ");
    });
  });

  it("none of them works inside a run", async () => {
    for (const args of [["init"], ["backup", "x"], ["restore", "x"]]) {
      const { code, stderr } = await work.sidekey(["vault", ...args], { environment: { SIDEKEY_RUN: "abc" } });
      expect(code).toBe(2);
      expect(stderr).toContain("does not work inside 'sidekey run'");
    }
  });

  describe("a restore that is killed", () => {
    const NAMES = Array.from({ length: 60 }, (_, n) => `p/new-${n}`).sort();
    const store = () => ({
      directory: work.at(".sidekey/vault"),
      keys: { file: work.at(".sidekey/vault.key") },
      clock: systemClock,
    });
    /** The paths in the store, or the code with which it does not open. */
    const look = (): Promise<string> =>
      withVault(work.path, async (vault) => (await vault.secrets.list()).map(({ path }) => path).join()).catch(
        (error: unknown) => {
          if (isSidekeyError(error)) return error.code;
          throw error;
        },
      );
    const value = SecretValue.fromText(CANARY);

    it.each([
      ["a sound vault", () => {}, "p/old"],
      ["a damaged one", () => truncateSync(work.at(".sidekey/vault/data.mdb"), 5000), "VAULT_STORE_DAMAGED"],
    ])("over %s has done all or nothing, at any moment", async (_, damage, before) => {
      const old = await withVault(work.path, async (vault) => {
        await vault.secrets.set("p/old", value);
        const text = await vault.backup();
        await vault.secrets.importAll(NAMES.map((path) => ({ path, value })));
        await vault.secrets.remove("p/old");
        work.write("new.backup", await vault.backup());
        return openBackup(text, store());
      });
      const begin = async () => {
        rmSync(work.at(".sidekey/vault"), { recursive: true, force: true });
        await restoreVault(store(), { backup: old, replace: false });
        damage();
        return launch(["vault", "restore", "new.backup", "--replace"], { cwd: work.path });
      };
      const began = performance.now();
      expect((await finished(await begin())).code).toBe(0);
      const whole = performance.now() - began;
      expect(await look()).toBe(NAMES.join());
      // Most of it is the start of a process; what it does comes near the end.
      for (const part of [0.4, 0.55, 0.7, 0.8, 0.9]) {
        const child = await begin();
        const timer = setTimeout(() => child.kill("SIGKILL"), whole * part);
        await finished(child);
        clearTimeout(timer);
        expect([before, NAMES.join()], `killed at ${part}`).toContain(await look());
      }
    });
  });
});

describe("beside a sidecar that serves", () => {
  let api: Api;
  beforeEach(async () => {
    api = await createApi((_, response) => void response.end("fine"));
  });
  afterEach(() => api.close());

  it("a backup is whole while others write, and a restore acts on the next request", async () => {
    const { work, upstream } = api;
    const running = await startSidekey([], { cwd: work.path });
    const proxy = `http://${String(running.ready["proxy"])}`;
    const dispatcher = new ProxyAgent({
      uri: proxy,
      requestTls: { ca: readFileSync(work.at(".sidekey/ca.pem"), "utf8") },
    });
    const sent = async (): Promise<string | undefined> => {
      const { statusCode, body } = await request(API_URL, { dispatcher });
      await body.dump();
      expect(statusCode).toBe(200);
      return upstream.requests.at(-1)?.header("authorization")?.[0];
    };
    try {
      expect(await sent()).toBe(`Bearer ${CANARY}`);
      let writing = true;
      const backups = (async () => {
        for (let n = 0; n < 3; n += 1) {
          const { code, stderr } = await work.sidekey(["vault", "backup", `backup-${n}`]);
          expect(code, stderr).toBe(0);
        }
        writing = false;
      })();
      await withVault(work.path, async (vault) => {
        for (let n = 0; writing; n += 1) {
          const value = SecretValue.fromText(`${CANARY}-${n}`);
          await vault.secrets.importAll([PATH, "production/y/key"].map((path) => ({ path, value })));
        }
      });
      await backups;
      expect(await sent()).not.toBe(`Bearer ${CANARY}`);
      for (let n = 0; n < 3; n += 1) {
        const { code, stderr } = await work.sidekey(["vault", "restore", `backup-${n}`, "--replace"]);
        expect(code, stderr).toBe(0);
        const [x, y] = await withVault(work.path, async (vault) =>
          Promise.all(
            [PATH, "production/y/key"].map(async (path) =>
              (await vault.secrets.get(path)).value.lend((bytes) => bytes.toString()),
            ),
          ),
        );
        // Both were written in one transaction.
        expect(x).toBe(y);
        expect(await sent()).toBe(`Bearer ${x}`);
      }
      // What it has open is not the vault any more: nothing that is taken back there would be heard of here.
      rmSync(work.at(".sidekey/vault"), { recursive: true });
      expect((await work.sidekey(["vault", "restore", "backup-0"])).code).toBe(0);
      const status = async (): Promise<number> => {
        const { statusCode, body } = await request(API_URL, { dispatcher });
        await body.dump();
        return statusCode;
      };
      await expect.poll(status).toBe(503);
      expect(upstream.requests.every((seen) => seen.header("host")?.[0] === API_HOST)).toBe(true);
    } finally {
      await dispatcher.destroy();
      expect((await running.stop()).code).toBe(0);
    }
  });
});
