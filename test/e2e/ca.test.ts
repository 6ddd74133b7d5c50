/** The CA's life on the built program, with the clients that agents use: curl and Node, each in a process of its own. */
import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { API_URL, type Api, CANARY, createApi } from "../support/api.ts";
import { noCurl } from "../support/curl.ts";
import { cleanEnvironment, type Running, startSidekey } from "../support/program.ts";

const run = promisify(execFile);

let api: Api;
let running: Running | undefined;

beforeEach(async () => {
  api = await createApi((_, response) => void response.end("through"));
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await api.close();
});

const start = async (more = ""): Promise<Running> => {
  if (more !== "") api.work.write("sidekey.yaml", `${readFileSync(api.work.at("sidekey.yaml"), "utf8")}${more}`);
  running = await startSidekey([], { cwd: api.work.path });
  return running;
};

const certificatesOf = (path: string): readonly string[] =>
  readFileSync(path, "utf8").match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];

const modeOf = (path: string): number => statSync(path).mode & 0o777;

/** What a Node program of its own gets that trusts `ca`: its CONNECT by hand, so that nothing but node: is needed. */
const NODE_CLIENT = `
const { connect } = require("node:net");
const tls = require("node:tls");
const port = Number(process.argv[1]);
const socket = connect(port, "127.0.0.1", () => socket.write("CONNECT api.example.test:443 HTTP/1.1\\r\\nHost: api.example.test:443\\r\\n\\r\\n"));
socket.once("data", (head) => {
  if (!String(head).startsWith("HTTP/1.1 200")) { console.log(String(head)); socket.destroy(); return; }
  const secure = tls.connect({ socket, servername: "api.example.test" }, () =>
    secure.write("GET /v1/models HTTP/1.1\\r\\nHost: api.example.test\\r\\nConnection: close\\r\\n\\r\\n"));
  secure.on("error", (error) => { console.log(error.code); socket.destroy(); });
  let text = "";
  secure.on("data", (chunk) => { text += chunk; });
  secure.on("end", () => console.log(text.includes("through") ? "through" : text));
});
`;

const node = async (ca: string): Promise<string> => {
  const port = String(running?.ready["proxy"]).split(":")[1] ?? "";
  const env = cleanEnvironment({ NODE_EXTRA_CA_CERTS: ca });
  const { stdout } = await run(process.execPath, ["-e", NODE_CLIENT, port], { env });
  return stdout.trim();
};

const curl = async (ca: string): Promise<string> => {
  const proxy = `http://${running?.ready["proxy"]}`;
  return run("curl", ["-sS", "--cacert", ca, "-x", proxy, API_URL]).then(
    ({ stdout }) => stdout,
    (error: { stderr: string }) => error.stderr,
  );
};

describe("the CA of start", () => {
  it("is there with the next one, and Node trusts it by ca.pem", async () => {
    await start();
    expect(certificatesOf(api.work.at(".sidekey/ca.pem"))).toHaveLength(2);
    const bundle = certificatesOf(api.work.at(".sidekey/ca-bundle.pem"));
    expect(bundle.slice(0, 2)).toEqual(certificatesOf(api.work.at(".sidekey/ca.pem")));
    expect(bundle.length).toBeGreaterThan(3);
    expect(await node(api.work.at(".sidekey/ca.pem"))).toBe("through");
  });

  it("changes under a running sidecar without a restart, and agents with the files of before go on", async () => {
    const { stop } = await start("tls: { export: ./shared }\n");
    const before = api.work.at("before.pem");
    writeFileSync(before, readFileSync(api.work.at(".sidekey/ca.pem")));
    const [first = "", second = ""] = certificatesOf(before);
    expect(await node(before)).toBe("through");

    const rotated = await api.work.sidekey(["ca", "rotate", "--json"]);
    expect(rotated).toMatchObject({ code: 0, stderr: expect.stringContaining("go on") });
    const [current, next, old] = certificatesOf(api.work.at(".sidekey/ca.pem"));
    expect([current, old]).toEqual([second, first]);
    expect([first, second]).not.toContain(next);
    expect(certificatesOf(api.work.at("shared/ca.pem"))).toEqual([current, next, old]);
    expect(certificatesOf(api.work.at("shared/ca-bundle.pem")).slice(0, 3)).toEqual([current, next, old]);
    const report = JSON.parse(rotated.stdout);
    expect(report).toMatchObject({ trusted_before: true });
    const log = readFileSync(api.work.at(".sidekey/audit-operator.jsonl"), "utf8").trimEnd().split("\n");
    expect(log.map((text) => JSON.parse(text)).filter(({ type }) => type === "admin")).toMatchObject([
      { reason: expect.stringMatching(/^CA rotated by ./) },
      { reason: expect.stringContaining(`CA rotated to ${report.current.sha256} by `), outcome: "ok" },
    ]);

    // The first look at the file is at most a second away.
    const signer = api.work.at("second.pem");
    writeFileSync(signer, `${second}\n`);
    await expect.poll(() => node(signer)).toBe("through");
    expect(await node(before)).toBe("through");
    const { code, stderr } = await stop();
    expect(code).toBe(0);
    expect(stderr).toContain("another CA signs from now on");
    expect(stderr).toContain(report.current.sha256);
  });

  it.skipIf(noCurl)("verifies in openssl and curl, before and after a rotation", async () => {
    await start();
    const own = api.work.at(".sidekey/ca.pem");
    expect(await curl(own)).toBe("through");
    await api.work.sidekey(["ca", "rotate"]);
    expect(await curl(own)).toBe("through");
    expect(await curl(api.work.at(".sidekey/ca-bundle.pem"))).toBe("through");
    expect(await curl(api.work.at("upstream-ca.pem"))).toMatch(/certificate/);
  });
});

describe("start with tls", () => {
  it("warns within 30 days of the CA's end, and so does check", async () => {
    const { stop } = await start("tls: { ca_days: 10 }\n");
    const checked = await api.work.sidekey(["check"]);
    expect(checked).toMatchObject({ code: 0, stderr: expect.stringMatching(/warning: .*ca\.pem.* ends soon, 20/) });
    const json = JSON.parse((await api.work.sidekey(["check", "--json"])).stdout);
    expect(json).toMatchObject({ ok: true, warnings: [{ file: api.work.at(".sidekey/ca.pem"), line: 1 }] });
    expect((await stop()).stderr).toMatch(/"msg":"the CA ends soon"/);
  });

  it("says nothing about a CA that lasts", async () => {
    const { stop } = await start();
    expect(await api.work.sidekey(["check"])).toMatchObject({ code: 0, stderr: "" });
    expect((await stop()).stderr).not.toContain("the CA ");
  });

  it("keeps tls.export up to date: public files, whole, never a key", async () => {
    await start("tls: { export: ./shared/deep }\n");
    expect(readdirSync(api.work.at("shared/deep")).sort()).toEqual(["ca-bundle.pem", "ca.pem"]);
    for (const name of ["ca.pem", "ca-bundle.pem"]) {
      expect(modeOf(api.work.at(`shared/deep/${name}`))).toBe(0o644);
      expect(readFileSync(api.work.at(`shared/deep/${name}`), "utf8")).not.toContain("PRIVATE");
    }
    expect([modeOf(api.work.at("shared")), modeOf(api.work.at("shared/deep"))]).toEqual([0o755, 0o755]);
    expect(await node(api.work.at("shared/deep/ca.pem"))).toBe("through");
  });

  it("refuses to start with an export directory that cannot be made", async () => {
    api.work.write("file", "");
    const failure = await start("tls: { export: ./file/below }\n").catch((error: Error) => error.message);
    expect(failure).toMatch(/TLS_CA_UNUSABLE.*file\/below cannot be made/s);
  });

  it.each([
    ["an unreadable key", (path: string) => writeFileSync(path, CANARY), "holds no"],
    ["an exposed key", (path: string) => chmodSync(path, 0o644), "open to other users"],
    ["no key beside its certificate", (path: string) => rmSync(path), "is missing beside"],
  ])("refuses to start with %s, and shows nothing of it", async (_, harm, detail) => {
    await (await start()).stop();
    running = undefined;
    harm(api.work.at(".sidekey/ca.key"));
    const failure = await start().catch((error: Error) => error.message);
    expect(failure).toMatch(/TLS_CA_UNUSABLE/);
    expect(failure).toContain(detail);
    expect(failure).not.toContain(CANARY);
  });

  it("signs for the routed hosts alone with constrain, and never with a CA made without", async () => {
    await (await start()).stop();
    running = undefined;
    const failure = await start("tls: { constrain: true }\n").catch((error: Error) => error.message);
    expect(failure).toMatch(/TLS_CA_UNUSABLE.*is not constrained.*sidekey ca rotate/s);
    const rotated = await api.work.sidekey(["ca", "rotate"]);
    expect(rotated).toMatchObject({ code: 0, stderr: expect.stringContaining("do not know this CA") });
    const { stop } = await start();
    const ca = api.work.at(".sidekey/ca.pem");
    expect(await node(ca)).toBe("through");
    const { stdout } = await run("openssl", ["x509", "-noout", "-text", "-in", ca]);
    expect(stdout).toMatch(/Name Constraints: critical\s+Permitted:\s+DNS:api\.example\.test\n/);
    await stop();
  });
});

describe("ca export", () => {
  it("writes what clients trust to a directory it makes, and never a key", async () => {
    await start();
    const done = await api.work.sidekey(["ca", "export", "mount/ca"]);
    const [ca, bundle] = [api.work.at("mount/ca/ca.pem"), api.work.at("mount/ca/ca-bundle.pem")];
    expect(done).toMatchObject({ code: 0, stdout: `${ca}\n${bundle}\n`, stderr: "" });
    expect(readdirSync(api.work.at("mount/ca")).sort()).toEqual(["ca-bundle.pem", "ca.pem"]);
    expect([modeOf(ca), modeOf(bundle)]).toEqual([0o644, 0o644]);
    expect(readFileSync(ca)).toEqual(readFileSync(api.work.at(".sidekey/ca.pem")));
    expect(readFileSync(bundle)).toEqual(readFileSync(api.work.at(".sidekey/ca-bundle.pem")));
    expect(await node(ca)).toBe("through");
    const json = JSON.parse((await api.work.sidekey(["ca", "export", "mount/ca", "--json"])).stdout);
    expect(json).toEqual({ ca, bundle });
  });

  it("replaces a link in its way, and never writes through it", async () => {
    await start();
    api.work.write("victim", "untouched");
    execFileSync("mkdir", [api.work.at("mount")]);
    symlinkSync(api.work.at("victim"), api.work.at("mount/ca.pem"));
    expect((await api.work.sidekey(["ca", "export", "mount"])).code).toBe(0);
    expect(readFileSync(api.work.at("victim"), "utf8")).toBe("untouched");
    expect(certificatesOf(api.work.at("mount/ca.pem"))).toHaveLength(2);
  });

  it("copies certificates alone, whatever stands in ca.pem", async () => {
    await (await start()).stop();
    running = undefined;
    const ca = api.work.at(".sidekey/ca.pem");
    writeFileSync(ca, `${readFileSync(ca, "utf8")}${readFileSync(api.work.at(".sidekey/ca.key"), "utf8")}`);
    expect((await api.work.sidekey(["ca", "export", "mount"])).code).toBe(0);
    expect(readFileSync(api.work.at("mount/ca.pem"), "utf8")).not.toContain("PRIVATE");
    expect((await api.work.sidekey(["ca", "print"])).stdout).not.toContain("PRIVATE");
  });

  it("says that there is none yet, and makes nothing", async () => {
    const done = await api.work.sidekey(["ca", "export", "mount"]);
    expect(done).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("There is none yet") });
    expect(existsSync(api.work.at("mount"))).toBe(false);
    const rotated = await api.work.sidekey(["ca", "rotate"]);
    expect(rotated).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("There is none yet") });
  });

  it("says what it needs", async () => {
    expect((await api.work.sidekey(["ca", "export"])).code).toBe(2);
    expect(await api.work.sidekey(["ca", "rotate"], { environment: { SIDEKEY_RUN: "1" } })).toMatchObject({ code: 2 });
  });
});
