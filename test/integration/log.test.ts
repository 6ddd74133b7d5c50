/** The process log of a whole sidecar: a value that reaches it by a way nobody thought of is taken out at the last step. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createLog } from "../../src/core/process-log.ts";
import { openConnection } from "../support/raw-client.ts";
import { startTestSidecar } from "../support/sidecar.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const OTHER_KEY = "w0c_x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
const LOGIN = "canary-login-2b7e1516";
/** A secret that is at the same time a name that the log tells of. */
const NAME = "canary-name-7d20.test";

describe("the log of a sidecar", () => {
  it("never holds a value in use, whatever line it would be in", async () => {
    const directory = mkdtempSync(join(tmpdir(), "sidekey-log-"));
    closers.push(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "log");
    const log = createLog({ level: "debug", to: file });
    const running = await startTestSidecar({
      file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
upstream:
  connect: { "127.0.0.1:1": "127.0.0.1:1" }
  proxy: { url: "http://127.0.0.1:1", username: me, password: { env: PROXY_LOGIN } }
routes:
  a: { match: "http://127.0.0.1:1/**", secret: "env:KEY" }
`,
      environment: { KEY: NAME, FERNET_SECRET_KEY: `${OTHER_KEY}, ${KEY}`, PROXY_LOGIN: LOGIN },
      start: { log },
    });
    closers.push(() => running.close());
    const ask = async (): Promise<number> => {
      const connection = await openConnection(running.port);
      connection.send("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
      const { status } = await connection.receive();
      connection.destroy();
      return status;
    };
    expect(await ask()).toBe(502);
    log.info("after", { name: NAME });
    log.error(`thrown: ${NAME}`);
    log.debug("the vault's key", { detail: `a ${KEY}` });
    log.warn("the proxy's login", { login: LOGIN });
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(parsed.find(({ msg }) => msg === "request failed")).toMatchObject({ code: "UPSTREAM_UNREACHABLE" });
    const text = lines.join("\n");
    for (const secret of [NAME, KEY, LOGIN]) expect(text).not.toContain(secret);
    expect(text.match(/\[redacted\]/g)).toHaveLength(4);
  });
});
