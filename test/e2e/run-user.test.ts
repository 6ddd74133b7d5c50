/** `sidekey run --user`: the program runs as somebody who can use the keys and cannot read them (guarantees.md F2, F5). */
import { chmodSync, readdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { API_URL, type Api, CANARY, CANARY_FORMS, createApi } from "../support/api.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const isRoot = process.getuid?.() === 0;

describe.runIf(isRoot)("run --user, as root", () => {
  let api: Api;
  beforeEach(async () => {
    api = await createApi();
    // The program starts here.
    chmodSync(api.work.path, 0o755);
  });
  afterEach(() => api.close());

  /** With a place for temporary files that no other run has. */
  const sh = (script: string, options: { environment?: Record<string, string>; before?: string } = {}) =>
    api.work.sidekey(["run", "--user", "nobody", "--", "sh", "-c", script], {
      ...options,
      environment: { TMPDIR: api.work.path, ...options.environment },
    });
  const publicDirectories = (): readonly string[] =>
    readdirSync(api.work.path).filter((name) => name.startsWith("sidekey-run-"));

  it("gives the program the user's ids and groups, no capabilities and no way back", async () => {
    const { code, stdout, stderr } = await sh(
      "id -u; id -g; id -G; grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status",
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const [uid, gid, groups, ...status] = stdout.trim().split("\n");
    expect({ uid, gid, groups }).toEqual({ uid: "65534", gid: "65534", groups: "65534" });
    expect(status.map((line) => line.split(/:\s+/))).toEqual([
      ["CapInh", "0000000000000000"],
      ["CapPrm", "0000000000000000"],
      ["CapEff", "0000000000000000"],
      ["CapAmb", "0000000000000000"],
      ["NoNewPrivs", "1"],
    ]);
  });

  it("drops root's supplementary groups", async () => {
    const before = 'exec setpriv --groups=0,4,27 -- "$@"';
    expect((await sh("id -G", { before })).stdout).toBe("65534\n");
  });

  it("tells the program who it is", async () => {
    const { stdout } = await sh('echo "$HOME $USER $LOGNAME $SHELL"', { environment: { USER: "root", MAIL: "kept" } });
    expect(stdout).toBe("/nonexistent nobody nobody /usr/sbin/nologin\n");
  });

  it("keeps vault, keys, log and this process from the program", async () => {
    const paths = [
      ".sidekey/",
      ...["vault/data.mdb", "vault.key", "audit.key", "sidekey.log"].map((name) => `.sidekey/${name}`),
      ...["environ", "mem", "maps", "fd/0", "root/"].map((name) => `/proc/$PPID/${name}`),
    ];
    const script = `
      export LC_ALL=C
      for path in ${paths.join(" ")}; do cat "$path" 2>&1 >/dev/null; done
      kill -0 $PPID
      tr '\\0' '\\n' </proc/$PPID/cmdline | grep -cx -e --user`;
    const { stdout, stderr } = await sh(script);
    const lines = stdout.trim().split("\n");
    // The parent was the sidecar, which would have been there to read.
    expect(lines.pop()).toBe("1");
    expect(lines.filter((line) => !line.endsWith("Permission denied"))).toEqual([]);
    expect(lines).toHaveLength(paths.length);
    expect(stderr).toMatch(/not permitted\s*$/);
  });

  it("lets a request of the program through, with the key that it cannot see", async () => {
    const { code, stdout, stderr } = await sh(`curl -sS ${API_URL}; env`, { before: "umask 077" });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^\{"ok":true\}/);
    expect(api.upstream.requests[0]?.header("authorization")).toEqual([`Bearer ${CANARY}`]);
    for (const form of CANARY_FORMS) expect(stdout).not.toContain(form);
  });

  it("lets Node's fetch through as well", async () => {
    const script = `"${process.execPath}" -e 'fetch("${API_URL}").then((r) => r.text()).then(console.log)'`;
    expect(await sh(script)).toEqual({ code: 0, stdout: '{"ok":true}\n', stderr: "" });
  });

  it("shares the CA files alone, in a directory that is gone afterwards", async () => {
    const { stdout } = await sh(
      'dirname "$NODE_EXTRA_CA_CERTS"; ls -l "$(dirname "$SSL_CERT_FILE")"; touch "$SSL_CERT_FILE" || echo closed',
    );
    expect(stdout).toMatch(/^\/\S+\/sidekey-run-\w+\n[\s\S]*-rw-r--r-- [\s\S]*ca-bundle\.pem\n[\s\S]*ca\.pem\n/);
    expect(publicDirectories()).toEqual([]);
  });

  it("ends with the program's code, and passes signals on to it", async () => {
    expect((await sh("exit 7")).code).toBe(7);
    const missing = await api.work.sidekey(["run", "--user", "nobody", "--", "no-such-program-here"]);
    expect(missing).toMatchObject({ code: 127, stdout: "" });
    expect(missing.stderr).toContain("no-such-program-here");
  });

  it("says what the user could change for the next run", async () => {
    chmodSync(api.work.at("sidekey.yaml"), 0o666);
    const { code, stderr } = await sh("true");
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^sidekey: no whole boundary: \S+sidekey\.yaml can be written by others \(mode 0666\)\. .*\n$/,
    );
  });

  it("refuses where setpriv is missing or not the one of util-linux", async () => {
    const absent = await sh("true", { environment: { PATH: "/nowhere" } });
    expect(absent).toMatchObject({ code: 125, stdout: "" });
    const bin = createWorkspace();
    chmodSync(bin.write("setpriv", "#!/bin/sh\necho 'setpriv: unrecognized option: reuid' >&2\nexit 1\n"), 0o755);
    const other = await sh("true", { environment: { PATH: `${bin.path}:/usr/bin:/bin` } });
    bin.remove();
    expect(other).toMatchObject({ code: 125, stdout: "" });
    expect(other.stderr).toContain("setpriv cannot change to user 'nobody' (setpriv: unrecognized option: reuid)");
    expect(other.stderr).toContain("util-linux");
    expect(publicDirectories()).toEqual([]);
  });
});

describe("run --user", () => {
  let work: Workspace;
  beforeEach(() => {
    work = createWorkspace();
    chmodSync(work.path, 0o777);
    work.write("sidekey.yaml", "version: 1\n");
  });
  afterEach(() => work.remove());

  it("is refused to anybody but root", async () => {
    const before = isRoot ? 'exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"' : "true";
    const result = await work.sidekey(["run", "--user", "nobody", "--", "echo", "ran"], { before });
    expect(result).toMatchObject({ code: 125, stdout: "" });
    expect(result.stderr).toContain("Only root can run a program as another user.");
    expect(readdirSync(work.path)).toEqual(["sidekey.yaml"]);
  });

  it.runIf(isRoot).each(["root", "no-such-user-here", "-x", "0"])("is refused for the user %s", async (name) => {
    const result = await work.sidekey(["run", `--user=${name}`, "--", "echo", "ran"]);
    expect(result).toMatchObject({ code: 125, stdout: "" });
    expect(result.stderr).toContain("sidekey: CONFIG_USAGE: ");
  });
});
