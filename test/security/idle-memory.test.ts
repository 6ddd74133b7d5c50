/**
 * What stays of a secret in the heap of a sidecar that is idle (guarantees.md F7): nothing that a heap snapshot shows.
 * Secrets are kept as bytes outside the heap, and what was made of one for a request is garbage with it. A target and no
 * promise: JavaScript strings cannot be wiped.
 */
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { ProxyAgent, request } from "undici";
import { expect, it } from "vitest";
import { SecretValue } from "../../src/core/secret-value.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { type Running, startSidekey } from "../support/program.ts";
import { startUpstream } from "../support/upstream.ts";
import { withVault } from "../support/vault/open-vault.ts";
import { createWorkspace } from "../support/workspace.ts";

const CORE = "7Kq2Zw9XbV4mJtHs8Lp3";
/** As it is, and what base64 makes of it wherever it begins. */
const FORMS = [
  CORE,
  ...[0, 1, 2].map((before) =>
    Buffer.from("x".repeat(before) + CORE)
      .toString("base64")
      .slice(4, -8),
  ),
];

const PRELOAD = `
const { writeHeapSnapshot, setFlagsFromString } = require("node:v8");
setFlagsFromString("--expose-gc");
const gc = require("node:vm").runInNewContext("gc");
process.on("SIGPWR", () => {
  gc();
  const { renameSync } = require("node:fs");
  renameSync(writeHeapSnapshot("heap.part"), "heap.whole");
});
`;

const INJECTIONS = [
  "{ kind: bearer }",
  "{ kind: basic, username: user }",
  '{ kind: header, name: X-Key, format: "k={secret}" }',
  "{ kind: query, name: key }",
  '{ kind: path, format: "/bot{secret}" }',
  "{ kind: cookie, name: sid }",
];

it("a sidecar that is idle has no secret in its heap", { timeout: 240_000 }, async () => {
  const authority = await createTestAuthority();
  const upstream = await startUpstream({ tls: await authority.issue({ names: ["*.api.test"] }) });
  const work = createWorkspace();
  let running: Running | undefined;
  try {
    mkdirSync(work.at("keys"));
    work.write("keys/k", CORE);
    work.write("ca.pem", authority.certificatePem);
    await withVault(work.path, (vault) => vault.secrets.set("a/b", SecretValue.fromText(CORE)));
    const routes = INJECTIONS.flatMap((inject) => ["files:k", "local:a/b"].map((secret) => ({ inject, secret })));
    const hosts = routes.map((_, n) => `h${n}.api.test`);
    const lines = routes.map(({ inject, secret }, n) => `  ${hosts[n]}: { secret: "${secret}", inject: ${inject} }`);
    work.write(
      "sidekey.yaml",
      `version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { local: { kind: local }, files: { kind: file, root: ./keys } }
routes:
${lines.join("\n")}
upstream:
  ca: ./ca.pem
  connect: { ${hosts.map((host) => `"${host}:443": "${upstream.address}"`).join(", ")} }
`,
    );
    const preload = work.write("preload.cjs", PRELOAD);
    const started = await startSidekey([], { cwd: work.path, nodeArguments: ["--require", preload] });
    running = started;
    const requestTls = { ca: readFileSync(work.at(".sidekey/ca.pem"), "utf8") };
    const dispatcher = new ProxyAgent({ uri: `http://${String(started.ready["proxy"])}`, requestTls });
    for (const host of [...hosts, ...hosts]) {
      const { statusCode, body } = await request(`https://${host}/x?a=b`, { dispatcher, method: "POST", body: "x" });
      expect(statusCode).toBe(200);
      await body.dump();
    }
    await dispatcher.close();
    expect(upstream.transcript()).toContain(CORE);

    const formsInHeap = async (): Promise<readonly string[]> => {
      rmSync(work.at("heap.whole"), { force: true });
      started.child.kill("SIGPWR");
      let text = "";
      await expect
        .poll(
          () => {
            text = readFileSync(work.at("heap.whole"), "utf8");
            return text.length;
          },
          { timeout: 30_000 },
        )
        .toBeGreaterThan(1_000_000);
      // What is looked for would be there: a name that the sidecar does keep is.
      expect(text).toContain("h3.api.test");
      return FORMS.filter((form) => text.includes(form));
    };
    await expect.poll(formsInHeap, { timeout: 120_000, interval: 500 }).toEqual([]);
    expect((await started.stop()).code).toBe(0);
  } finally {
    running?.child.kill("SIGKILL");
    await upstream.close();
    work.remove();
  }
});
