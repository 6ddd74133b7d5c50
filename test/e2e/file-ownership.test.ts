/** Files that somebody else could change: `start` refuses them, `run` says so in its log (guarantees.md F6). */
import { chmodSync, chownSync, readFileSync, symlinkSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startSidekey } from "../support/program.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const FILE = `version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { vault: { kind: local, key: { file: ./vault.key } } }
routes: { api.example.test: production/x/key }
`;

let work: Workspace;
beforeEach(() => {
  work = createWorkspace();
  work.write("sidekey.yaml", FILE);
  chmodSync(work.write("vault.key", Buffer.alloc(32, 7).toString("base64url")), 0o600);
});
afterEach(() => work.remove());

describe("start", () => {
  const expectRefused = async (args: readonly string[], place: string, why: string, remedy: string): Promise<void> => {
    const result = await work.sidekey(["start", ...args]);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain("sidekey: CONFIG_INVALID: ");
    expect(result.stderr).toContain(`${place} ${why}`);
    expect(result.stderr).toContain(`hint: Look at what is in it, then${remedy}`);
  };

  it("takes files that nobody else can change, as they are and behind a link", async () => {
    symlinkSync("sidekey.yaml", work.at("link.yaml"));
    expect((await (await startSidekey(["-c", "link.yaml"], { cwd: work.path })).stop()).code).toBe(0);
  });

  it.each(["sidekey.yaml", "vault.key"])("refuses a %s with mode 0666", async (name) => {
    const path = work.at(name);
    chmodSync(path, 0o666);
    await expectRefused([], path, "can be written by others (mode 0666)", `: chmod go-w ${path}`);
  });

  it("refuses a link to such a file", async () => {
    symlinkSync("sidekey.yaml", work.at("link.yaml"));
    chmodSync(work.at("sidekey.yaml"), 0o664);
    const link = work.at("link.yaml");
    await expectRefused(["-c", "link.yaml"], link, "can be written by others (mode 0664)", `: chmod go-w ${link}`);
  });

  it("refuses an upstream.ca of that kind", async () => {
    work.write("sidekey.yaml", `${FILE}upstream: { ca: ./ca.pem }\n`);
    const path = work.write("ca.pem", "");
    chmodSync(path, 0o622);
    await expectRefused([], path, "can be written by others (mode 0622)", `: chmod go-w ${path}`);
  });

  it("refuses a file in a directory where others can replace it", async () => {
    chmodSync(work.path, 0o777);
    const place = `${work.at("sidekey.yaml")}: on the way to it, ${work.path}`;
    await expectRefused([], place, "can be written by others (mode 0777)", `: chmod go-w ${work.path}`);
  });

  it.runIf(process.getuid?.() === 0)("refuses a file of another user, before it reads it", async () => {
    const path = work.write("sidekey.yaml", "version: wrong\n");
    chownSync(path, 65534, 65534);
    await expectRefused([], path, "belongs to another user (uid 65534)", ` make it yours: chown 0 ${path}`);
  });
});

describe("run", () => {
  it("goes on, and says so in its log alone", async () => {
    chmodSync(work.at("sidekey.yaml"), 0o666);
    const { code, stderr } = await work.sidekey(["run", "--", "true"]);
    expect(code).toBe(0);
    expect(stderr).not.toContain("sidekey.yaml");
    const lines = readFileSync(work.at(".sidekey/sidekey.log"), "utf8").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toContainEqual(
      expect.objectContaining({ path: work.at("sidekey.yaml"), reason: "can be written by others (mode 0666)" }),
    );
  });
});
