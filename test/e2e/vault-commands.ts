/** The commands with `--vault URL`, as a person types them, over any vault server. */
import { chmodSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AgentVault } from "../../src/client/index.ts";
import type { Finished } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

export interface ServedVault {
  readonly address: string;
  readonly operatorKey: string;
  close(): Promise<void>;
}

const VALUE = "sk-CANARY-commands-71d0c3";
const OTHER_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const JKT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

export const describeVaultCommands = (name: string, start: () => Promise<ServedVault>): void => {
  describe(`the commands with --vault, on ${name}`, () => {
    let served: ServedVault;
    let work: Workspace;
    beforeAll(async () => {
      served = await start();
      work = createWorkspace();
      chmodSync(work.write("operator.key", `${served.operatorKey}\n`), 0o600);
    });
    afterAll(async () => {
      work?.remove();
      await served?.close();
    });

    /** As the operator. */
    const type = async (line: string, input = "", environment: Record<string, string> = {}): Promise<Finished> => {
      const words = line.split(" ");
      const finished = await work.sidekey([...words, "--vault", served.address, "--key-file", "operator.key"], {
        input,
        environment,
      });
      expect(finished.stdout + finished.stderr).not.toContain(served.operatorKey);
      if (!line.startsWith("secret get")) expect(finished.stdout + finished.stderr).not.toContain(VALUE);
      return finished;
    };
    const succeed = async (line: string, input = ""): Promise<string> => {
      const { code, stdout, stderr } = await type(line, input);
      expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
      return stdout;
    };
    /** With another key, from a variable. */
    const as = (key: string, line: string, input = ""): Promise<Finished> =>
      work.sidekey([...line.split(" "), "--vault", served.address], { input, environment: { ASS_AGENT_KEY: key } });

    it("store, show, list, rotate, roll back and remove a secret", async () => {
      expect(await succeed("secret set production/a/key --host api.x.test --type api_key", VALUE)).toBe(
        "stored production/a/key version 1, only for api.x.test\n",
      );
      expect(await succeed("secret get production/a/key --reveal")).toBe(`${VALUE}\n`);
      const { code, stderr } = await type("secret get production/a/key");
      expect([code, stderr]).toEqual([2, expect.stringContaining("needs --reveal")]);
      expect(await succeed("secret list production/a")).toMatch(
        /^PATH +VERSION +HOSTS[^\n]*\nproduction\/a\/key +1 +api\.x\.test +\d{4}-/,
      );
      expect(JSON.parse(await succeed("secret list production/b --json"))).toEqual([]);
      expect(await succeed("secret rotate production/a/key --grace 10m", "second-value-1")).toMatch(
        /^rotated production\/a\/key to version 2; older versions stay readable by @VERSION until \d{4}-/,
      );
      expect(await succeed("secret get production/a/key --reveal --version 1")).toBe(`${VALUE}\n`);
      expect(await succeed("secret rollback production/a/key 1")).toBe(
        "production/a/key is at version 3, with the value of version 1\n",
      );
      expect(await succeed("secret history production/a/key")).toMatch(
        /^VERSION +WRITTEN[^\n]*\n3 [\s\S]*\n2 [\s\S]*\n1 /,
      );
      expect(await succeed("secret rm production/a/key")).toBe("removed production/a/key\n");
      const gone = await type("secret get production/a/key --reveal");
      expect([gone.code, gone.stdout]).toEqual([1, ""]);
      expect(gone.stderr).toMatch(/^sidekey: CLIENT_SECRET_MISSING: [^\n]*production\/a\/key[^\n]*\nhint: /);
    });

    it("import a .env file as a whole, and say first what would be stored", async () => {
      work.write("keys.env", `# ours\nFIRST_KEY=${VALUE}\nSECOND_KEY='two words'\nEMPTY=\n`);
      const dry = await type("secret import keys.env --prefix imported/app --dry-run");
      expect(dry.stdout).toMatch(
        /imported\/app\/FIRST_KEY +- +would be stored\nimported\/app\/SECOND_KEY +- +would be stored\n/,
      );
      expect(JSON.parse(await succeed("secret list imported/ --json"))).toEqual([]);
      const done = await type("secret import keys.env --prefix imported/app");
      expect(done).toMatchObject({ code: 0, stdout: expect.stringMatching(/FIRST_KEY +- +stored/) });
      expect(done.stderr).toContain("skipped EMPTY");
      expect(await succeed("secret get imported/app/SECOND_KEY --reveal")).toBe("two words\n");
    });

    it("make an agent, give it a token, look at that, and take both back", async () => {
      await succeed("secret set production/t/key", VALUE);
      const made = await type(
        "agent create research --scope secrets:*:production/t/* --scope secrets:use:production/t/*",
      );
      expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ast_agent_[\w-]{43}\n$/) });
      const key = made.stdout.trim();
      expect(await succeed("agent list")).toMatch(/\nresearch +agent +active /);
      expect(await succeed("agent list")).not.toContain(key);

      const issued = await as(key, "token issue --scope secrets:read:production/t/key --ttl 10m");
      expect(issued).toMatchObject({
        code: 0,
        stderr: "",
        stdout: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+\n$/),
      });
      const token = issued.stdout.trim();
      // What takes a key takes a token as well.
      expect((await as(token, "secret get production/t/key --reveal")).stdout).toBe(`${VALUE}\n`);
      expect((await as(key, "secret get production/t/key --reveal")).stdout).toBe(`${VALUE}\n`);
      const beyond = await as(key, "secret get production/other/key --reveal");
      expect([beyond.code, beyond.stderr]).toEqual([1, expect.stringMatching(/^sidekey: CLIENT_SCOPE_DENIED: /)]);
      expect(await succeed("token inspect", token)).toMatch(
        /^id [\s\S]*scope +secrets:read:production\/t\/key\n[\s\S]*valid +yes\n$/,
      );
      expect(await succeed("token list")).toMatch(/research +active +\d{4}[^\n]* secrets:read:production\/t\/key/);
      expect(await succeed("token revoke", token)).toMatch(/^revoked [\w-]+\n$/);
      const ended = await as(token, "secret get production/t/key --reveal");
      expect([ended.code, ended.stderr]).toEqual([1, expect.stringMatching(/^sidekey: CLIENT_UNAUTHORIZED: /)]);
      const inspected = await type("token inspect", token);
      expect([inspected.code, inspected.stdout]).toEqual([1, expect.stringMatching(/valid +no\n$/)]);

      expect(await succeed(`agent enroll research --jkt ${JKT}`)).toBe(`enrolled ${JKT} for research\n`);
      expect(await succeed("agent update research --scope secrets:read:production/u/*")).toBe("updated research\n");
      expect(await succeed("agent update research --json --reads placeholder")).toContain('"updated":true');
      expect(await succeed("agent revoke research")).toBe("revoked research\n");
      const after = await as(key, "token issue --scope secrets:read:production/t/key");
      expect([after.code, after.stdout, after.stderr]).toEqual([
        1,
        "",
        expect.stringMatching(/^sidekey: CLIENT_UNAUTHORIZED: /),
      ]);
    });

    it("list the sidecars that may redeem, and revoke one for good", async () => {
      await type("agent create mailer --scope secrets:use:production/*");
      await succeed(`agent enroll mailer --jkt ${OTHER_JKT} --name mailer-1`);
      expect(await succeed("sidecar list")).toMatch(
        new RegExp(`^NAME +AGENT +STATE[^\n]*\n[\\s\\S]*mailer-1 +mailer +active +\\S+ +${OTHER_JKT} +\\S+\n`),
      );
      expect(await succeed(`sidecar revoke ${OTHER_JKT}`)).toBe(`revoked ${OTHER_JKT}\n`);
      const listed: unknown = JSON.parse(await succeed("sidecar list --json"));
      expect(listed).toContainEqual(expect.objectContaining({ name: "mailer-1", agent: "mailer", active: false }));
      const again = await type(`agent enroll mailer --jkt ${OTHER_JKT}`);
      expect([again.code, again.stdout]).toEqual([1, ""]);
      const unknown = await type(`sidecar revoke ${JKT.slice(0, 42)}A`);
      expect([unknown.code, unknown.stderr]).toEqual([
        1,
        expect.stringMatching(
          /CLIENT_NOT_FOUND: [^\n]*There is no such sidecar: [^\n]*\nhint: sidekey sidecar list --vault http/,
        ),
      ]);
      const key = await type("sidecar revoke ask_op_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
      expect([key.code, key.stderr]).toEqual([2, expect.not.stringContaining("AAAA")]);
    });

    it.each<[string, RegExp]>([
      [
        "secret get production/none/key --reveal",
        /CLIENT_SECRET_MISSING[^\n]*production\/none\/key[^\n]*\nhint: sidekey secret list --vault http/,
      ],
      ["agent revoke nobody", /CLIENT_NOT_FOUND[^\n]*no such agent: nobody\.\nhint: sidekey agent list --vault http/],
      [`agent enroll nobody --jkt ${JKT}`, /CLIENT_NOT_FOUND[^\n]*no such agent: nobody\.\nhint: sidekey agent list/],
      ["token revoke none", /CLIENT_NOT_FOUND[^\n]*no such token: none\.\nhint: sidekey token list --vault http/],
      [
        "approval approve none",
        /CLIENT_NOT_FOUND[^\n]*no such approval: none\.\nhint: sidekey approval list --status all/,
      ],
      [
        "agent create operator --operator",
        /CLIENT_CONFLICT[^\n]*The name is taken: operator\.\nhint: Take another name/,
      ],
    ])("say in a person's words what is wrong: %s", async (line, words) => {
      const { code, stdout, stderr } = await type(line);
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(words);
      expect(stderr).not.toContain("openapi");
    });

    it("make another operator, whose key manages as well", async () => {
      const made = await type("agent create anna --operator --json");
      const { api_key: key } = JSON.parse(made.stdout) as { api_key: string };
      expect(key).toMatch(/^ask_op_[\w-]{43}$/);
      const { code, stdout } = await work.sidekey(["agent", "list", "--vault", served.address, "--json"], {
        // The operator's variable goes before the agent's.
        environment: { ASS_API_KEY: key, ASS_AGENT_KEY: "ast_agent_none" },
      });
      expect(code).toBe(0);
      const agents = JSON.parse(stdout) as { name: string; operator: boolean }[];
      expect(agents.find(({ name: one }) => one === "anna")).toMatchObject({ operator: true, active: true });
    });

    it("let a person decide, and say what to do until she has", async () => {
      await succeed("secret set production/s/key --tier sensitive", VALUE);
      const made = await type("agent create asker --scope secrets:read:production/s/*");
      const key = made.stdout.trim();
      const line = "token issue --scope secrets:read:production/s/key --ttl 5m --reason report";
      const asked = await as(key, line);
      expect([asked.code, asked.stdout]).toEqual([1, ""]);
      const [, id = ""] =
        /^sidekey: CLIENT_APPROVAL_REQUIRED: [^\n]*Approval (\S+) waits[^\n]*\nhint: [^\n]*sidekey approval approve \1/.exec(
          asked.stderr,
        ) ?? [];
      expect(id).not.toBe("");
      expect(await succeed("approval list")).toMatch(new RegExp(`\n${id} +asker +pending +sensitive `));
      expect(await succeed(`approval approve ${id} --reason fine`)).toBe(`approved ${id}\n`);
      expect((await as(key, line)).stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
      const again = await as(key, line);
      const [, next = ""] = /Approval (\S+) waits/.exec(again.stderr) ?? [];
      expect(await succeed(`approval deny ${next} --reason no`)).toBe(`denied ${next}\n`);
      expect(await succeed("approval list --status denied")).toContain(next);
      const twice = await type(`approval approve ${next}`);
      expect([twice.code, twice.stderr]).toEqual([1, expect.stringMatching(/^sidekey: CLIENT_CONFLICT: /)]);
    });

    it("read the vault's audit", async () => {
      await succeed("secret set production/audited/key", VALUE);
      await succeed("secret get production/audited/key --reveal");
      await expect
        .poll(async () => (await type("audit search --secret production/audited/key --event secret.read")).stdout)
        .toMatch(/^\d{4}-\S+ {2}secret\.read {2}\S+ {2}production\/audited\/key {2}/);
      const lines = (await succeed("audit tail -n 3 --json")).trim().split("\n");
      expect(lines.map((line) => typeof JSON.parse(line).event_type)).toEqual(["string", "string", "string"]);
      const refused = await type("audit search --route api");
      expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("--route")]);
    });

    it("follow the vault's audit until they are stopped", async () => {
      const { launch, finished } = await import("../support/program.ts");
      const following = launch(
        ["audit", "tail", "-n", "0", "-f", "--json", "--vault", served.address, "--key-file", "operator.key"],
        { cwd: work.path },
      );
      let text = "";
      following.stdout?.on("data", (chunk) => {
        text += String(chunk);
      });
      const end = finished(following);
      const vault = new AgentVault({ address: served.address, operatorKey: served.operatorKey });
      await expect
        .poll(async () => {
          await vault.setSecret("production/followed/key", VALUE);
          return text;
        })
        .toContain("production/followed/key");
      vault.close();
      following.kill();
      await end;
      expect(text).not.toContain(VALUE);
    });

    it("say no more than that a key is wrong, and what to check", async () => {
      chmodSync(work.write("wrong.key", `ask_op_${"A".repeat(43)}\n`), 0o600);
      const { code, stdout, stderr } = await work.sidekey(
        ["secret", "list", "--vault", served.address, "--key-file", "wrong.key"],
        {},
      );
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toMatch(
        /^sidekey: CLIENT_UNAUTHORIZED: The vault does not take this key or token\.[^\n]*\nhint: /,
      );
      expect(stderr).not.toContain("AAAA");
    });
  });
};
