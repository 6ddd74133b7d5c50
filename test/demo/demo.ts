/**
 * `npm run demo`: the main job, for real, on this machine alone. A TLS upstream that refuses a call without the key, an
 * embedded vault, the built sidecar, and an agent in a process of its own. Exits 0 only if the upstream saw the key and
 * no byte that the agent could see held it.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTestAuthority } from "../support/certificates.ts";
import { startUpstream } from "../support/upstream.ts";

const HOST = "api.example.test";
const SECRET_PATH = "production/example/api-key";
const program = join(import.meta.dirname, "../../dist/main.js");
const agent = join(import.meta.dirname, "agent.mjs");

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const runProgram = (args: readonly string[], cwd: string, stdin = ""): Promise<Finished> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd, stdio: "pipe" });
    const out: string[] = [];
    const err: string[] = [];
    child.stdout.setEncoding("utf8").on("data", (text: string) => out.push(text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => err.push(text));
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout: out.join(""), stderr: err.join("") }));
    child.stdin.end(stdin);
  });

const show = (title: string, lines: readonly string[]): void => {
  console.log(`\n${title}`);
  for (const line of lines) console.log(`  ${line}`);
};

const must = ({ code, stdout, stderr }: Finished, what: string): string => {
  if (code !== 0) throw new Error(`${what} failed (${code}):\n${stdout}${stderr}`);
  return stdout;
};

const directory = await mkdtemp(join(tmpdir(), "sidekey-demo-"));
const key = `sk-demo-${randomBytes(18).toString("base64url")}`;
const mask = (text: string): string => text.replaceAll(key, `${key.slice(0, 11)}…${key.slice(-3)}`);

const authority = await createTestAuthority("Demo upstream CA");
const upstream = await startUpstream({
  tls: await authority.issue({ names: [HOST] }),
  handler: async (request, response, received) => {
    for await (const _ of request);
    const allowed = received.header("authorization")[0] === `Bearer ${key}`;
    // Worse than a real API: it echoes the credential, to show that it does not come back.
    const body = JSON.stringify({ answer: allowed ? "hello" : "no key, no answer", you_sent: received.rawHeaders });
    response.writeHead(allowed ? 200 : 401, { "content-type": "application/json" }).end(body);
  },
});

let failures: string[] = [];
try {
  await writeFile(join(directory, "upstream-ca.pem"), authority.certificatePem);
  await writeFile(
    join(directory, "sidekey.yaml"),
    `version: 1
agent: demo-agent
routes:
  example:
    match: "GET https://${HOST}/v1/**"
    secret: ${SECRET_PATH}
    env: EXAMPLE_API_KEY
upstream:
  ca: ./upstream-ca.pem
  connect: { "${HOST}:443": "${upstream.address}" }
`,
  );
  must(await runProgram(["secret", "set", SECRET_PATH, "--host", HOST], directory, key), "secret set");
  const finished = await runProgram(["run", "--", process.execPath, agent], directory);
  const seen = JSON.parse(must(finished, "run")) as {
    sent: { url: string; headers: Record<string, string> };
    got: { status: number; headers: Record<string, string>; body: string };
    environment: Record<string, string>;
  };
  const [received] = upstream.requests;
  const log = (await readdir(join(directory, ".sidekey"))).find((name) => /^audit-.*\.jsonl$/.test(name));
  const audit = log === undefined ? "" : await readFile(join(directory, ".sidekey", log), "utf8");

  show("The agent sent", [`GET ${seen.sent.url}`, ...Object.entries(seen.sent.headers).map(([k, v]) => `${k}: ${v}`)]);
  const raw = received?.rawHeaders ?? [];
  show("The upstream received (key masked)", [
    `${received?.method} ${received?.path}`,
    ...raw.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${mask(raw[i + 1] ?? "")}`] : [])),
  ]);
  show("The agent got back", [String(seen.got.status), seen.got.body]);
  show("The audit says", audit.trimEnd().split("\n"));
  const verified = await runProgram(["audit", "verify"], directory);
  show("sidekey audit verify", `${verified.stdout}${verified.stderr}`.trimEnd().split("\n"));

  const visible = finished.stdout + finished.stderr + JSON.stringify(seen);
  const encodings = [key, Buffer.from(key).toString("base64").slice(0, -4), Buffer.from(key).toString("hex")];
  const checks: readonly (readonly [string, boolean])[] = [
    ["the upstream saw the key", received?.header("authorization")[0] === `Bearer ${key}`],
    ["the agent got its answer", seen.got.status === 200 && seen.got.body.includes('"answer":"hello"')],
    ["no byte that the agent saw held the key", encodings.every((form) => !visible.includes(form))],
    ["the audit holds the call, and not the key", /"type":"intent"/.test(audit) && !audit.includes(key)],
    ["the audit's chain verifies", verified.code === 0],
  ];
  failures = checks.filter(([, holds]) => !holds).map(([what]) => what);
  show(
    "Checked",
    checks.map(([what, holds]) => `${holds ? "yes" : "NO "}  ${what}`),
  );
} catch (error) {
  failures = [error instanceof Error ? error.message : String(error)];
} finally {
  await upstream.close();
  await rm(directory, { recursive: true, force: true });
}
if (failures.length > 0) {
  console.error(`\nThe demo failed: ${failures.join("; ")}`);
  process.exitCode = 1;
}
