/** The file read again while it serves: every trigger, what stays, what is refused, and who keeps what they began with. */
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { silentLog } from "../../src/core/log.ts";
import { SecretValue } from "../../src/core/secret-value.ts";
import { parseScope } from "../../src/identity/scope.ts";
import type { Vault } from "../../src/vault/index.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { openConnection, type RawResponse } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { watchStalls, within } from "../support/stalls.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";
import { withVault } from "../support/vault/open-vault.ts";

/** A clock that stands still while the machine has no time for this process. */
const stalls = watchStalls();
afterAll(() => stalls.stop());

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** Every test's file: one route to one upstream, whose header format tells which text of the file it came from. */
const fileOf = (upstream: TestUpstream, mark: string, more = ""): string => `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  api:
    match: http://127.0.0.1:${upstream.port}/**
    secret: API_KEY
    inject: { kind: header, name: X-Api-Key, format: "${mark} {secret}" }
${more}`;

interface Stage {
  readonly upstream: TestUpstream;
  readonly sidecar: TestSidecar;
  /** Error lines of the log. */
  readonly errors: string[];
  readonly path: string;
  /** The header that the upstream got, or the code of the refusal. */
  ask(path?: string): Promise<string | undefined>;
  write(mark: string, more?: string): void;
  /** Until the upstream sees this mark. */
  until(mark: string): Promise<void>;
}

const open = async (
  options: {
    readonly handler?: UpstreamHandler;
    readonly watch?: boolean;
    /** Makes the file, and says where the sidecar finds it. */
    readonly place?: (directory: string, text: string) => void;
  } = {},
): Promise<Stage> => {
  const upstream = await startUpstream(options.handler === undefined ? {} : { handler: options.handler });
  closers.push(() => upstream.close());
  const errors: string[] = [];
  const text = fileOf(upstream, "one");
  const place = options.place ?? ((directory, content) => writeFileSync(join(directory, "sidekey.yaml"), content));
  const sidecar = await startTestSidecar({
    file: text,
    environment: { API_KEY: "the-key", OTHER_KEY: "the-other-key" },
    prepare: async (directory) => place(directory, text),
    start: {
      watch: options.watch ?? true,
      log: { ...silentLog, error: (message) => void errors.push(message) },
    },
  });
  closers.push(() => sidecar.close());
  const path = join(sidecar.directory, "sidekey.yaml");
  const stage: Stage = {
    upstream,
    sidecar,
    errors,
    path,
    async ask(target = "/") {
      const seen = upstream.requests.length;
      const { headers } = await get(sidecar.port, `http://127.0.0.1:${upstream.port}${target}`);
      return headers.get("x-sidekey-error")?.[0] ?? upstream.requests[seen]?.header("x-api-key")[0];
    },
    write: (mark, more) => writeFileSync(path, fileOf(upstream, mark, more)),
    async until(mark) {
      await within(stalls, 5_000, async () => (await stage.ask()) === `${mark} the-key`);
    },
  };
  return stage;
};

const get = async (port: number, url: string): Promise<RawResponse> => {
  const connection = await openConnection(port);
  connection.send(`GET ${url} HTTP/1.1\r\nHost: ${new URL(url).host}\r\nConnection: close\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  return response;
};

describe("a change of the file acts by itself", () => {
  it("when it is written in place", async () => {
    const stage = await open();
    expect(await stage.ask()).toBe("one the-key");
    stage.write("two");
    await stage.until("two");
  });

  it("when another is renamed over it, again and again", async () => {
    const stage = await open();
    for (const mark of ["two", "three", "four"]) {
      const next = join(stage.sidecar.directory, "next.yaml");
      writeFileSync(next, fileOf(stage.upstream, mark));
      renameSync(next, stage.path);
      await stage.until(mark);
    }
  });

  it("when it is removed and made again; between the two the old one goes on", async () => {
    const stage = await open();
    rmSync(stage.path);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await stage.ask()).toBe("one the-key");
    stage.write("two");
    await stage.until("two");
    expect(stage.errors).toEqual([]);
  });

  it("when a mounted ConfigMap's ..data is swapped", async () => {
    const revision = (directory: string, name: string, text: string): void => {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, "sidekey.yaml"), text);
      symlinkSync(name, join(directory, "..data_tmp"));
      renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
    };
    const stage = await open({
      place(directory, text) {
        revision(directory, "..2026_1", text);
        symlinkSync("..data/sidekey.yaml", join(directory, "sidekey.yaml"));
      },
    });
    expect(await stage.ask()).toBe("one the-key");
    revision(stage.sidecar.directory, "..2026_2", fileOf(stage.upstream, "two"));
    await stage.until("two");
  });

  it("when the file that a link leads to, in another directory, is replaced", async () => {
    const stage = await open({
      place(directory, text) {
        mkdirSync(join(directory, "elsewhere"));
        writeFileSync(join(directory, "elsewhere", "real.yaml"), text);
        symlinkSync("elsewhere/real.yaml", join(directory, "sidekey.yaml"));
      },
    });
    const real = join(stage.sidecar.directory, "elsewhere", "real.yaml");
    writeFileSync(`${real}.next`, fileOf(stage.upstream, "two"));
    renameSync(`${real}.next`, real);
    await stage.until("two");
  });

  it("only once its last part is written", async () => {
    const stage = await open();
    const text = fileOf(stage.upstream, "two");
    for (let at = 0; at <= text.length; at += 40) {
      writeFileSync(stage.path, text.slice(0, at));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    writeFileSync(stage.path, text);
    await stage.until("two");
    expect(stage.errors).toEqual([]);
  });
});

describe("a file that is wrong", () => {
  it("changes nothing, is told once, and counts again when it is right", async () => {
    const stage = await open();
    writeFileSync(stage.path, `${fileOf(stage.upstream, "two")}nonsense: true\n`);
    await within(stalls, 5_000, () => stage.errors.length > 0);
    expect(stage.errors).toHaveLength(1);
    expect(stage.errors[0]).toContain("nonsense: is not a known key");
    // The same again is the same problem, and so is asking for it.
    const now = new Date();
    utimesSync(stage.path, now, now);
    await stage.sidecar.sidecar.reload("signal");
    expect(stage.errors).toHaveLength(1);
    expect(await stage.ask()).toBe("one the-key");
    stage.write("three");
    await stage.until("three");
  });

  it("shows no value in the log, not even one that was pasted into it", async () => {
    const stage = await open();
    writeFileSync(stage.path, fileOf(stage.upstream, "two").replace("API_KEY", "sk-canary-55aa01: yes"));
    await within(stalls, 5_000, () => stage.errors.length > 0);
    expect(stage.errors).toHaveLength(1);
    expect(stage.errors.join()).not.toContain("sk-canary");
  });

  it.each([
    ["agent: someone\n", "agent"],
    ["state: ./other\n", "state"],
    ["audit: { keep: 3 }\n", "audit.keep"],
    ["tls: { ca_days: 3 }\n", "tls.ca_days"],
    ["listen: { proxy: 'unix:p.sock' }\n", "listen.proxy"],
    ["listen: { proxy: '127.0.0.1:0', gateway: '127.0.0.1:0' }\n", "listen.gateway"],
    ["listen: { proxy: '127.0.0.1:0', names: [a.test] }\n", "listen.names"],
  ])("is one that says %j: that needs a restart", async (line, key) => {
    const stage = await open({ watch: false });
    const text = fileOf(stage.upstream, "two");
    writeFileSync(stage.path, (line.startsWith("listen") ? text.replace(/listen: .*\n/, "") : text) + line);
    const result = await stage.sidecar.sidecar.reload("signal");
    expect("problems" in result && result.problems).toEqual([
      expect.objectContaining({
        path: key,
        message: "cannot change on reload",
        hint: "Restart the sidecar to apply it.",
      }),
    ]);
    expect(await stage.ask()).toBe("one the-key");
  });

  it("is one that others may write; it counts once that is mended, the text untouched", async () => {
    const stage = await open();
    writeFileSync(stage.path, fileOf(stage.upstream, "two"));
    chmodSync(stage.path, 0o666);
    await within(stalls, 5_000, () => stage.errors.length > 0);
    expect(stage.errors).toHaveLength(1);
    expect(stage.errors[0]).toContain("can be written by others (mode 0666)");
    expect(await stage.ask()).toBe("one the-key");
    chmodSync(stage.path, 0o600);
    await stage.until("two");
  });

  it("is one that others may write before it is anything else, and one that names a file that others may write", async () => {
    const stage = await open({ watch: false });
    const messages = async (): Promise<readonly string[]> => {
      const result = await stage.sidecar.sidecar.reload("signal");
      return "problems" in result ? result.problems.map(({ message }) => message) : [];
    };
    writeFileSync(stage.path, "neither: this\nnor: that\n");
    chmodSync(stage.path, 0o666);
    expect(await messages()).toEqual([expect.stringContaining(`${stage.path} can be written by others (mode 0666)`)]);
    chmodSync(stage.path, 0o600);
    const ca = join(stage.sidecar.directory, "more.pem");
    writeFileSync(ca, (await createTestAuthority()).certificatePem);
    chmodSync(ca, 0o666);
    stage.write("two", "upstream: { ca: ./more.pem }");
    expect(await messages()).toEqual([expect.stringContaining(`${ca} can be written by others (mode 0666)`)]);
    expect(await stage.ask()).toBe("one the-key");
  });

  it("is told with what is wrong about a file that it names, and which", async () => {
    const stage = await open({ watch: false });
    stage.write("two", "upstream: { ca: ./none.pem }");
    const path = join(stage.sidecar.directory, "none.pem");
    expect(await stage.sidecar.sidecar.reload("signal")).toEqual({
      problems: [expect.objectContaining({ message: `upstream.ca: ${path} cannot be read (ENOENT).` })],
    });
    expect(stage.errors.join()).toContain("cannot be read (ENOENT)");
  });

  it("is one whose upstream.ca, proxy password or token is not there", async () => {
    const stage = await open({ watch: false });
    for (const more of [
      "upstream: { ca: ./none.pem }",
      'upstream: { proxy: { url: "http://127.0.0.1:1", username: a, password: { file: ./none } } }',
    ]) {
      stage.write("two", more);
      expect(await stage.sidecar.sidecar.reload("signal")).toHaveProperty("problems");
    }
    const withToken = fileOf(stage.upstream, "two").replace(
      "env: { kind: env }",
      "env: { kind: env }, v: { kind: local, token: { file: ./none } }",
    );
    writeFileSync(stage.path, withToken);
    expect(await stage.sidecar.sidecar.reload("signal")).toHaveProperty("problems");
    expect(await stage.ask()).toBe("one the-key");
  });
});

describe("a reload", () => {
  it("leaves a request in flight with what it began with, to its end", async () => {
    let answer = (): void => undefined;
    const stage = await open({
      handler: (_request, response) => {
        answer = () => void response.end("late");
      },
    });
    const held = get(stage.sidecar.port, `http://127.0.0.1:${stage.upstream.port}/held`);
    await expect.poll(() => stage.upstream.requests.length).toBe(1);
    stage.write("two");
    await expect.poll(async () => (await stage.sidecar.audit()).some(({ type }) => type === "admin")).toBe(true);
    answer();
    expect((await held).body.toString()).toBe("late");
    expect(stage.upstream.requests[0]?.header("x-api-key")).toEqual(["one the-key"]);
  });

  it("keeps connections where the way out is the same, and gives them up where it is not", async () => {
    const stage = await open({ watch: false });
    await stage.ask();
    stage.write("two");
    await stage.sidecar.sidecar.reload("signal");
    expect(await stage.ask()).toBe("two the-key");
    expect(stage.upstream.connections).toBe(1);
    stage.write("three", "egress: { allow: [10.0.0.0/8] }");
    await stage.sidecar.sidecar.reload("signal");
    await expect.poll(() => stage.upstream.open).toBe(0);
    expect(await stage.ask()).toBe("three the-key");
    expect(stage.upstream.connections).toBe(2);
  });

  it("puts another upstream.ca into the bundle that agents trust", async () => {
    const stage = await open({ watch: false });
    const { certificatePem } = await createTestAuthority();
    writeFileSync(join(stage.sidecar.directory, "more.pem"), certificatePem);
    stage.write("two", "upstream: { ca: ./more.pem }");
    expect(await stage.sidecar.sidecar.reload("signal")).toHaveProperty("generation");
    expect(readFileSync(stage.sidecar.sidecar.files.bundle, "utf8")).toContain(certificatePem.trim());
    stage.write("three");
    expect(await stage.sidecar.sidecar.reload("signal")).toHaveProperty("generation");
    expect(readFileSync(stage.sidecar.sidecar.files.bundle, "utf8")).not.toContain(certificatePem.trim());
  });

  it("closes a connection of the old way out at the end of its last request", async () => {
    let answer = (): void => undefined;
    const stage = await open({
      watch: false,
      handler: (_request, response) => {
        answer = () => void response.end("late");
      },
    });
    const held = get(stage.sidecar.port, `http://127.0.0.1:${stage.upstream.port}/held`);
    await expect.poll(() => stage.upstream.requests.length).toBe(1);
    stage.write("two", "egress: { allow: [10.0.0.0/8] }");
    await stage.sidecar.sidecar.reload("signal");
    expect(stage.upstream.open).toBe(1);
    answer();
    expect((await held).body.toString()).toBe("late");
    await expect.poll(() => stage.upstream.open).toBe(0);
  });

  it("keeps the cached secrets of a source that stays, and none of one that was changed under its name", async () => {
    const directory = await mkdtemp(join(tmpdir(), "sidekey-values-"));
    closers.push(() => rm(directory, { recursive: true }));
    for (const name of ["a", "b"]) {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, "API_KEY"), `value-in-${name}`);
    }
    const stage = await open({ watch: false });
    const reload = async (mark: string, root: string): Promise<void> => {
      const text = fileOf(stage.upstream, mark).replace(
        "{ kind: env }",
        `{ kind: file, root: ${join(directory, root)} }`,
      );
      writeFileSync(stage.path, text);
      expect(await stage.sidecar.sidecar.reload("signal")).toHaveProperty("generation");
    };
    await reload("two", "a");
    expect(await stage.ask()).toBe("two value-in-a");
    writeFileSync(join(directory, "a", "API_KEY"), "value-changed");
    await reload("three", "a");
    expect(await stage.ask()).toBe("three value-in-a");
    await reload("four", "b");
    expect(await stage.ask()).toBe("four value-in-b");
  });

  it("leaves in the search of answers what the route sent before it", async () => {
    const sent: string[] = [];
    const stage = await open({
      watch: false,
      handler: (_request, response, received) => {
        sent.push(...received.header("x-api-key"));
        response.end(`so far: ${sent.join(", ")}`);
      },
    });
    await stage.ask();
    writeFileSync(stage.path, fileOf(stage.upstream, "two").replace("API_KEY", "OTHER_KEY"));
    await stage.sidecar.sidecar.reload("signal");
    const { body } = await get(stage.sidecar.port, `http://127.0.0.1:${stage.upstream.port}/`);
    expect(sent).toEqual(["one the-key", "two the-other-key"]);
    expect(body.toString()).toBe("so far: one [redact, two [redacted]***");
  });

  it("is on record with its number or its refusal, and does for all who ask before it begins", async () => {
    const stage = await open({ watch: false });
    const { sidecar } = stage.sidecar;
    const results = await Promise.all(
      ["signal", "admin", "signal"].map((trigger) => sidecar.reload(trigger as "admin")),
    );
    // The first had not begun when the others asked, so it does for them too.
    expect(results).toEqual([{ generation: 2 }, { generation: 2 }, { generation: 2 }]);
    expect(await sidecar.reload("admin")).toEqual({ generation: 3 });
    writeFileSync(stage.path, "version: 1\nx: 1\ny: 2\n");
    await sidecar.reload("admin");
    const records = (await stage.sidecar.audit()).filter(({ type }) => type === "admin");
    expect(records.map(({ reason }) => reason)).toEqual([
      "reload by signal: generation 2",
      "reload by admin: generation 3",
      expect.stringMatching(/^reload by admin refused: \d problems$/),
    ]);
    expect(records.at(-1)).toMatchObject({ code: "CONFIG_INVALID" });
  });

  it("acts on new limits, gateway origins and unmatched as well", async () => {
    const stage = await open({ watch: false });
    stage.write("two", "limits: { connections: 1 }");
    await stage.sidecar.sidecar.reload("signal");
    const first = await openConnection(stage.sidecar.port);
    closers.push(async () => first.destroy());
    await expect.poll(async () => (await get(stage.sidecar.port, "http://x.test/")).status).toBe(503);
    first.destroy();
    stage.write("three", "unmatched: tunnel");
    await stage.sidecar.sidecar.reload("signal");
    await expect
      .poll(async () => (await get(stage.sidecar.port, "http://10.0.0.1/")).headers.get("x-sidekey-error"))
      .toEqual(["POLICY_ADDRESS"]);
  });
});

describe("the embedded vault's source, at a reload,", () => {
  const openLocal = async (token?: (vault: Vault) => Promise<string>, watch = false) => {
    const upstream = await startUpstream();
    closers.push(() => upstream.close());
    const file = (path: string): string =>
      `${fileOf(upstream, "x").replace("API_KEY", path)}`.replace(
        "sources: { env: { kind: env } }",
        token === undefined ? "" : "sources: { local: { kind: local, token: { file: ./token } } }",
      );
    const sidecar = await startTestSidecar({
      file: file("a/one"),
      files: { "sidekey.yaml": file("a/one") },
      start: { watch },
      prepare: (directory) =>
        withVault(directory, async (vault) => {
          for (const name of ["one", "two"])
            await vault.secrets.set(`a/${name}`, SecretValue.fromText(`value-${name}`), {});
          if (token !== undefined) writeFileSync(join(directory, "token"), await token(vault), { mode: 0o600 });
        }),
    });
    closers.push(() => sidecar.close());
    const { directory } = sidecar;
    return {
      directory,
      ask: async () => {
        const seen = upstream.requests.length;
        const { headers } = await get(sidecar.port, `http://127.0.0.1:${upstream.port}/`);
        return headers.get("x-sidekey-error")?.[0] ?? upstream.requests[seen]?.header("x-api-key")[0];
      },
      async reload(path: string, more = "") {
        writeFileSync(join(directory, "sidekey.yaml"), file(path) + more);
        return sidecar.sidecar.reload("signal");
      },
      states: () =>
        withVault(directory, async (vault) =>
          (await vault.tokens.list())
            .map(({ scope, revokedAt }) => [scope, revokedAt === undefined] as const)
            .sort(([a], [b]) => a.localeCompare(b)),
        ),
    };
  };

  const issue = (ttlMs: number) => async (vault: Vault) =>
    (await vault.tokens.issue({ scopes: [parseScope("secrets:use:a/*")], ttlMs, agent: "t" })).token;

  it("has a token of its own for exactly the new paths, and the old one is revoked", async () => {
    const stage = await openLocal();
    expect(await stage.ask()).toBe("x value-one");
    expect(await stage.reload("a/two")).toEqual({ generation: 2 });
    expect(await stage.ask()).toBe("x value-two");
    await expect.poll(stage.states).toEqual([
      ["secrets:use:a/one", false],
      ["secrets:use:a/two", true],
    ]);
  });

  it("keeps its token where the paths stay, and where the file is wrong gives back what it asked for", async () => {
    const stage = await openLocal();
    expect(await stage.reload("a/one")).toEqual({ generation: 2 });
    expect(await stage.states()).toEqual([["secrets:use:a/one", true]]);
    // The second source fails once the first has its new token: what its file holds is none.
    writeFileSync(join(stage.directory, "other-token"), "no-token", { mode: 0o600 });
    const bad = await stage.reload(
      "a/two",
      "  more: { match: https://m.test, secret: 'v:a/b' }\nsources: { local: { kind: local }, v: { kind: local, path: ./other, token: { file: ./other-token } } }\n",
    );
    expect("problems" in bad && bad.problems.map(({ message }) => message)).toEqual([
      expect.stringContaining("The token is not valid"),
    ]);
    expect((await stage.states()).map(([scope]) => scope)).toContain("secrets:use:a/two");
    expect(await stage.ask()).toBe("x value-one");
    await expect.poll(stage.states).toContainEqual(["secrets:use:a/one", true]);
    expect((await stage.states()).filter(([, active]) => active)).toEqual([["secrets:use:a/one", true]]);
  });

  it("issues nothing again that an operator revoked", async () => {
    const stage = await openLocal();
    await withVault(stage.directory, async (vault) => {
      for (const { id } of await vault.tokens.list()) await vault.tokens.revoke(id);
    });
    expect(await stage.reload("a/two")).toEqual({ generation: 2 });
    expect(await stage.ask()).toMatch(/^IDENTITY_/);
    expect(await stage.reload("a/one")).toEqual({ generation: 3 });
    expect(await stage.ask()).toBe("IDENTITY_TOKEN_REVOKED");
  });

  it("takes a token that was renewed in its place, the file untouched", async () => {
    const stage = await openLocal(issue(1_000));
    await expect.poll(stage.ask).toBe("IDENTITY_TOKEN_EXPIRED");
    const next = await withVault(stage.directory, issue(60_000));
    writeFileSync(join(stage.directory, "token"), next.slice(0, 20));
    const refused = await stage.reload("a/one");
    expect("problems" in refused && refused.problems.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^The token is not one of this vault's\. The token is not valid: /),
    ]);
    writeFileSync(join(stage.directory, "token"), next);
    expect(await stage.reload("a/one")).toHaveProperty("generation");
    expect(await stage.ask()).toBe("x value-one");
  });

  it("finds such a token by itself", async () => {
    const stage = await openLocal(issue(1_000), true);
    await expect.poll(stage.ask).toBe("IDENTITY_TOKEN_EXPIRED");
    writeFileSync(join(stage.directory, "token"), await withVault(stage.directory, issue(60_000)));
    await within(stalls, 5_000, async () => (await stage.ask()) === "x value-one");
  });
});

describe("run", () => {
  it("never reads its file again", async () => {
    const upstream = await startUpstream();
    closers.push(() => upstream.close());
    const running = await startTestSidecar({
      file: fileOf(upstream, "one"),
      environment: { API_KEY: "the-key" },
      start: { mode: "run", watch: true },
    });
    closers.push(() => running.close());
    expect(running.sidecar.ready.admin).toBe(null);
    await expect(running.sidecar.reload("admin")).rejects.toThrow(TypeError);
    writeFileSync(join(running.directory, "sidekey.yaml"), fileOf(upstream, "two"));
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    await get(running.port, `http://127.0.0.1:${upstream.port}/`);
    expect(upstream.requests[0]?.header("x-api-key")).toEqual(["one the-key"]);
  });
});
