/** `--vault URL`: what each command does on a server, and what it says when that is not to be had. */
import { chmodSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AgentVault } from "../../src/client/index.ts";
import { createTestAuthority } from "../support/certificates.ts";
import type { Finished } from "../support/program.ts";
import { type BuiltVault, startBuiltVault } from "../support/vault/built-vault.ts";
import { type FakeVault, startFakeVault } from "../support/vault/fake-vault/fake-vault.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";
import { describeVaultCommands } from "./vault-commands.ts";

describeVaultCommands("a vault in memory", startFakeVault);

describeVaultCommands("the built server", startBuiltVault);

describe("the operator at the machine of a server", () => {
  let vault: BuiltVault;
  beforeAll(async () => {
    vault = await startBuiltVault();
  });
  afterAll(async () => {
    await vault?.close();
  });

  it("manages agents and approvals without a key, beside the running server, and is on record", async () => {
    const { work, address, operatorKey } = vault;
    const type = (line: string, environment: Record<string, string> = {}): Promise<Finished> =>
      work.sidekey(line.split(" "), { environment, input: "sk-at-the-machine-4d1f" });
    expect((await type("secret set production/s/key --tier sensitive")).code).toBe(0);
    const made = await type("agent create asker --scope secrets:read:production/*");
    const key = made.stdout.trim();
    const ask = (): Promise<Finished> =>
      type(`token issue --scope secrets:read:production/s/key --reason report --vault ${address}`, {
        ASS_AGENT_KEY: key,
      });
    const [, id = ""] = /Approval (\S+) waits/.exec((await ask()).stderr) ?? [];
    expect((await type("approval list")).stdout).toMatch(
      new RegExp(`\n${id} +asker +pending +sensitive [^\n]* "report"`),
    );
    expect(await type(`approval approve ${id} --reason fine`)).toMatchObject({ code: 0, stdout: `approved ${id}\n` });
    const token = (await ask()).stdout.trim();
    // The server's own record of what was decided beside it.
    const recorded = async (): Promise<Finished> => type("audit search --event approval.granted --json -c vault.yaml");
    await expect
      .poll(async () => (await recorded()).stdout, { timeout: 30_000 })
      .toContain(`\\"approval_id\\":\\"${id}\\"`);
    const read = await type(`secret get production/s/key --reveal --vault ${address}`, { ASS_API_KEY: token });
    expect(read.stdout).toBe("sk-at-the-machine-4d1f\n");

    const client = new AgentVault({ address, operatorKey });
    expect((await client.agents.list()).items.map(({ name }) => name)).toContain("asker");
    client.close();
    expect(await type("agent revoke asker")).toMatchObject({ code: 0, stdout: "revoked asker\n" });
    expect((await ask()).stderr).toContain("CLIENT_UNAUTHORIZED");
    const last = await type("agent revoke operator");
    expect([last.code, last.stderr]).toEqual([1, expect.stringContaining("IDENTITY_LAST_OPERATOR")]);
    const log = readFileSync(work.at(".sidekey/audit-operator.jsonl"), "utf8");
    for (const what of ["agent create asker", `approval approve ${id}`, "agent revoke asker"])
      expect(log).toContain(what);
    expect(log).not.toContain(key);
  });
});

describe("the audit of a server, kept elsewhere", () => {
  let vault: BuiltVault;
  beforeAll(async () => {
    vault = await startBuiltVault();
    chmodSync(vault.work.write("operator.key", vault.operatorKey), 0o600);
  });
  afterAll(async () => {
    await vault?.close();
  });

  it("is exported to the last line, goes on where it ended, and is verified", async () => {
    const { work, address, operatorKey } = vault;
    const client = new AgentVault({ address, operatorKey });
    // More than one part of an export, and than one page of a search.
    for (let n = 0; n < 25; n += 1) await client.setSecret(`production/many/k${n}`, "sk-exported-1d0c");
    for (let n = 0; n < 44; n += 1) {
      await Promise.all(Array.from({ length: 25 }, (_, of) => client.getSecret(`production/many/k${of}`)));
    }
    const type = (...words: readonly string[]): Promise<Finished> =>
      work.sidekey(["audit", ...words, "--vault", address, "--key-file", "operator.key"]);
    const whole = await type("export");
    expect([whole.code, whole.stderr]).toEqual([0, expect.stringMatching(/^sidekey: 11\d\d records\n$/)]);
    const lines = whole.stdout.trimEnd().split("\n");
    const numbers = lines.map((line) => (JSON.parse(line) as { seq: number }).seq);
    expect(numbers).toEqual(numbers.map((_, at) => at + 1));
    expect(whole.stdout).not.toContain("sk-exported-1d0c");

    work.write("audit.ndjson", whole.stdout);
    const verified = await work.sidekey(["audit", "verify", "audit.ndjson", "-c", "vault.yaml"]);
    expect(verified).toMatchObject({ code: 0, stdout: expect.stringContaining(`intact, ${lines.length} records`) });
    const rest = await type("export", "--after", String(lines.length - 3), "--event", "secret.*");
    expect(rest.stdout.startsWith(`${lines.slice(-3).join("\n")}\n`)).toBe(true);

    const found = await type("search", "--event", "secret.read", "--limit", "1050", "--json");
    const ids = found.stdout
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { id: string }).id);
    expect([ids.length, new Set(ids).size]).toEqual([1050, 1050]);
    const odd = await type("export", "--after", "x");
    expect([odd.code, odd.stderr]).toEqual([2, expect.stringContaining("--after")]);
    client.close();
  });
});

describe("a server that is not to be had", () => {
  let work: Workspace;
  let fake: FakeVault;
  let secure: FakeVault;
  beforeAll(async () => {
    work = createWorkspace();
    fake = await startFakeVault();
    const authority = await createTestAuthority();
    const tls = await authority.issue({ names: ["localhost"] });
    secure = await startFakeVault({ tls, host: "localhost" });
    work.write("ca.pem", authority.certificatePem);
    work.write("other-ca.pem", (await createTestAuthority("Another CA")).certificatePem);
    const client = await authority.issue({ names: ["operator"] });
    const [clientCert, clientKey] = [client.cert, client.key];
    work.write("client.pem", String(clientCert));
    work.write("client-key.pem", String(clientKey));
    work.write("other-key.pem", String(tls.key));
    work.write("bom.key", `\ufeff${secure.operatorKey}\r\n`);
    work.write("two.key", `${secure.operatorKey}\n${secure.operatorKey}\n`);
    work.write("huge.key", "A".repeat(100_000));
    chmodSync(work.write("operator.key", secure.operatorKey), 0o600);
    work.write("empty.key", "\n");
    work.write("no.pem", "hello");
  });
  afterAll(async () => {
    await fake?.close();
    await secure?.close();
    work?.remove();
  });

  const list = (...args: readonly string[]): Promise<Finished> => work.sidekey(["secret", "list", ...args]);
  const KEY = ["--key-file", "operator.key"] as const;

  it("is called over TLS with the CA that is named", async () => {
    const { code, stderr } = await list("--vault", secure.address, ...KEY, "--ca", "ca.pem");
    expect([code, stderr]).toEqual([0, expect.stringContaining("no secrets yet")]);
  });

  it("is sent no value that is no text, and the person is told what to do", async () => {
    const { code, stdout, stderr } = await work.sidekey(
      ["secret", "set", "a/b", "--vault", secure.address, "--key-file", "operator.key", "--ca", "ca.pem"],
      { input: Buffer.from([0xff, 0xfe, 0x41]) },
    );
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^sidekey: CLIENT_REFUSED: [^\n]*no text in UTF-8; nothing was sent\.\nhint: [^\n]*base64/);
  });

  it("takes a key file with a mark before it and a Windows line end behind it, and tells who else may read it", async () => {
    const { code, stderr } = await list("--vault", secure.address, "--key-file", "bom.key", "--ca", "ca.pem");
    expect([code, stderr]).toEqual([
      0,
      expect.stringContaining("can be read by other users (mode 644): chmod 600 bom.key"),
    ]);
    chmodSync(work.at("bom.key"), 0o600);
    const quiet = await list("--vault", secure.address, "--key-file", "bom.key", "--ca", "ca.pem", "--json");
    expect(quiet).toMatchObject({ code: 0, stdout: "[]\n", stderr: "" });
  });

  it.each<[string, () => readonly string[], string, RegExp]>([
    [
      "an unknown CA",
      () => ["--vault", secure.address, ...KEY],
      "CLIENT_UNREACHABLE",
      /signed by nobody[\s\S]*--ca FILE/,
    ],
    [
      "another CA",
      () => ["--vault", secure.address, ...KEY, "--ca", "other-ca.pem"],
      "CLIENT_UNREACHABLE",
      /signed by nobody[\s\S]*--ca FILE/,
    ],
    [
      "another name",
      () => ["--vault", secure.address.replace("localhost", "127.0.0.1"), ...KEY, "--ca", "ca.pem"],
      "CLIENT_UNREACHABLE",
      /for other names than 127\.0\.0\.1/,
    ],
    [
      "TLS where there is none",
      () => ["--vault", fake.address.replace("http:", "https:"), ...KEY],
      "CLIENT_UNREACHABLE",
      /No TLS connection[\s\S]*speaks TLS/,
    ],
    [
      "no TLS where there is some",
      () => ["--vault", secure.address.replace("https:", "http:"), ...KEY],
      "CLIENT_UNREACHABLE",
      /begins with https/,
    ],
    [
      "nothing there",
      () => ["--vault", "http://127.0.0.1:1", ...KEY],
      "CLIENT_UNREACHABLE",
      /Nothing listens[\s\S]*vault serve/,
    ],
  ])("tells a person what is wrong: %s", async (_name, args, code, words) => {
    const finished = await list(...args());
    expect([finished.code, finished.stdout]).toEqual([1, ""]);
    expect(finished.stderr).toContain(`sidekey: ${code}: `);
    expect(finished.stderr).toMatch(words);
    expect(finished.stderr).not.toContain(secure.operatorKey);
  });

  it.each<[string, readonly string[], string, RegExp]>([
    ["http:// elsewhere", ["--vault", "http://vault.test:7200", ...KEY], "CLIENT_BAD_ADDRESS", /in the clear/],
    ["no URL", ["--vault", "vault.test:7200", ...KEY], "CLIENT_BAD_ADDRESS", /https:\/\/HOST/],
    ["no key", ["--vault", "http://127.0.0.1:1"], "CONFIG_USAGE", /--key-file FILE or in ASS_API_KEY/],
    ["a key file that is not there", ["--vault", "http://127.0.0.1:1", "--key-file", "none"], "CONFIG_USAGE", /ENOENT/],
    ["an empty key file", ["--vault", "http://127.0.0.1:1", "--key-file", "empty.key"], "CONFIG_USAGE", /holds no key/],
    [
      "a CA that is none",
      ["--vault", "https://127.0.0.1:1", ...KEY, "--ca", "no.pem"],
      "CONFIG_USAGE",
      /no certificate/,
    ],
    [
      "two keys in a file",
      ["--vault", "http://127.0.0.1:1", "--key-file", "two.key"],
      "CONFIG_USAGE",
      /two\.key holds is no key/,
    ],
    [
      "a file that is no key's",
      ["--vault", "http://127.0.0.1:1", "--key-file", "/dev/zero"],
      "CONFIG_USAGE",
      /far too large/,
    ],
    ["a huge key file", ["--vault", "http://127.0.0.1:1", "--key-file", "huge.key"], "CONFIG_USAGE", /far too large/],
    [
      "a password in the URL",
      ["--vault", "https://me:sk-pass@127.0.0.1:1", ...KEY],
      "CLIENT_BAD_ADDRESS",
      /a user or a password/,
    ],
    ["a path in the URL", ["--vault", "https://127.0.0.1:1/v1", ...KEY], "CLIENT_BAD_ADDRESS", /more than a host/],
    ["--cert alone", ["--vault", "https://127.0.0.1:1", ...KEY, "--cert", "client.pem"], "CONFIG_USAGE", /go together/],
    [
      "a key that is not the certificate's",
      ["--vault", "https://127.0.0.1:1", ...KEY, "--cert", "client.pem", "--cert-key", "other-key.pem"],
      "CONFIG_USAGE",
      /other-key\.pem is not the key/,
    ],
    [
      "a certificate in the key's place",
      ["--vault", "https://127.0.0.1:1", ...KEY, "--cert", "client.pem", "--cert-key", "client.pem"],
      "CONFIG_USAGE",
      /client\.pem holds no private key/,
    ],
    [
      "--cert without a server",
      ["--cert", "client.pem", "--cert-key", "client-key.pem"],
      "CONFIG_USAGE",
      /goes with --vault/,
    ],
    ["--key-file alone", [...KEY], "CONFIG_USAGE", /goes with --vault/],
    ["--ca alone", ["--ca", "ca.pem"], "CONFIG_USAGE", /goes with --vault/],
    [
      "--source as well",
      ["--vault", "http://127.0.0.1:1", "--source", "local", ...KEY],
      "CONFIG_USAGE",
      /give one of them/,
    ],
  ])("refuses, before anything is sent: %s", async (_name, args, code, words) => {
    const finished = await list(...args);
    expect([finished.code, finished.stdout]).toEqual([2, ""]);
    expect(finished.stderr).toContain(`sidekey: ${code}: `);
    expect(finished.stderr).toMatch(words);
  });

  it("is called by no command inside 'run', and leaves nothing in the working directory", async () => {
    const before = readdirSync(work.path);
    for (const words of [
      ["secret", "list"],
      ["secret", "history", "a/b"],
      ["agent", "list"],
      ["agent", "create", "x", "--scope", "secrets:use:a/b"],
      ["approval", "list"],
      ["approval", "approve", "x"],
      ["token", "list"],
      ["audit", "tail"],
    ]) {
      const { code, stderr } = await work.sidekey([...words, "--vault", fake.address, ...KEY], {
        environment: { SIDEKEY_RUN: "abc" },
      });
      expect([code, stderr]).toEqual([2, expect.stringContaining("does not work inside 'sidekey run'")]);
    }
    expect(readdirSync(work.path)).toEqual(before);
  });
});

describe("a server that asks its clients for a certificate", () => {
  let vault: BuiltVault;
  beforeAll(async () => {
    const authority = await createTestAuthority();
    const own = await authority.issue({ names: ["localhost"] });
    const client = await authority.issue({ names: ["operator"] });
    vault = await startBuiltVault({
      yaml: "tls: { cert: ./own.pem, key: ./own-key.pem, client_ca: ./ca.pem }\n",
      files: {
        "ca.pem": authority.certificatePem,
        "own.pem": String(own.cert),
        "own-key.pem": String(own.key),
        "client.pem": String(client.cert),
        "client-key.pem": String(client.key),
      },
    });
    vault.work.write("operator.key", vault.operatorKey);
  });
  afterAll(async () => {
    await vault?.close();
  });

  const list = (...args: readonly string[]): Promise<Finished> =>
    vault.work.sidekey([
      ...["secret", "list", "--json", "--vault", vault.address.replace("127.0.0.1", "localhost")],
      ...["--key-file", "operator.key", "--ca", "ca.pem", ...args],
    ]);

  it("gets it from --cert and --cert-key, and says so to whoever has none", async () => {
    expect(await list("--cert", "client.pem", "--cert-key", "client-key.pem")).toMatchObject({
      code: 0,
      stdout: "[]\n",
    });
    const without = await list();
    expect([without.code, without.stdout]).toEqual([1, ""]);
    expect(without.stderr).toMatch(
      /CLIENT_UNREACHABLE: [^\n]*asks its clients for a certificate[^\n]*\nhint: [^\n]*--cert FILE/,
    );
  });

  it("gets it from a sidecar too: of 'run' by --cert and --cert-key, and of the file, which 'doctor' looks at", async () => {
    const { work } = vault;
    const address = vault.address.replace("127.0.0.1", "localhost");
    const shown = ["--cert", "client.pem", "--cert-key", "client-key.pem"];
    const server = ["--vault", address, "--ca", "ca.pem"];
    const agent = ["agent", "create", "research", "--scope", "secrets:use:production/*", "--key-file", "operator.key"];
    const made = await work.sidekey([...agent, ...server, ...shown]);
    const environment = { ASS_AGENT_KEY: made.stdout.trim() };
    work.write("agent.key", made.stdout);
    for (const name of ["agent.key", "client-key.pem"]) chmodSync(work.at(name), 0o600);
    work.write("run.yaml", "version: 1\nstate: ./run-state\nroutes: { api.example.test: production/a/b }\n");
    const run = async (...args: readonly string[]): Promise<readonly [number | null, string]> => {
      const command = ["run", "-c", "run.yaml", ...server, ...args, "--", process.execPath, "-e", "0"];
      const { code, stderr } = await work.sidekey(command, { environment });
      return [code, stderr];
    };
    expect(await run(...shown)).toEqual([0, expect.not.stringContaining("not to be read now")]);
    expect(await run()).toEqual([0, expect.stringContaining("vault:production/a/b (SOURCE_UNAVAILABLE)")]);
    expect(await run("--cert", "client.pem")).toEqual([125, expect.stringContaining("--cert-key go together")]);

    const source = `kind: sidekey, address: "${address}", agent_key: { file: agent.key }, ca: ca.pem`;
    const doctor = async (more: string): Promise<readonly string[]> => {
      work.write("own.yaml", `version: 1\nstate: ./own-state\nsources: { v: { ${source}${more} } }\n`);
      const { stdout } = await work.sidekey(["doctor", "-c", "own.yaml", "--client", "none", "--json"]);
      const { checks } = JSON.parse(stdout) as { checks: readonly Record<string, string>[] };
      return checks.filter(({ what }) => what === "vault v").map(({ level, text }) => `${level}: ${text}`);
    };
    expect(await doctor(", cert: client.pem, cert_key: client-key.pem")).toEqual([
      expect.stringContaining(`ok: ${address} answers over TLS`),
      expect.stringMatching(/^ok: the certificate for it is good until 20/),
      "info: takes the agent's key; this sidecar enrols when it starts",
    ]);
    expect(await doctor("")).toEqual([expect.stringContaining("fail: ")]);
  });
});
