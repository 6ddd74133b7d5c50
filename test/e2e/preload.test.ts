/** The preload in a Node process of an agent: only what a proxy and the agent itself can see. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cleanEnvironment, type Finished, finished } from "../support/program.ts";

const PRELOAD = new URL("../../dist/cli/run/preload.cjs", import.meta.url).pathname;

let proxy: Server;
let seen: string[] = [];
let proxyUrl = "";
beforeEach(async () => {
  seen = [];
  proxy = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    response.end("from the proxy");
  });
  proxy.on("connect", (request, socket) => {
    seen.push(`CONNECT ${request.url}`);
    socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
});
afterEach(() => {
  proxy.closeAllConnections();
  proxy.close();
});

const agent = (script: string, environment: Readonly<Record<string, string>> = {}): Promise<Finished> => {
  const env = cleanEnvironment({
    HTTP_PROXY: proxyUrl,
    HTTPS_PROXY: proxyUrl,
    // Node 22.21 and 24 would do it themselves, and then the preload does nothing.
    NODE_USE_ENV_PROXY: "0",
    NODE_OPTIONS: `--require "${PRELOAD}"`,
    ...environment,
  });
  return finished(spawn(process.execPath, ["--input-type=module", "-e", script], { env }));
};

/** Since 22.21 and 24.5 Node reads the variables itself; for http some versions make a tunnel, some do not. */
it("leaves it to a Node that does it, and does it where Node does not", async () => {
  await agent(`await fetch("http://api.test/v1").catch(() => {});`, { NODE_USE_ENV_PROXY: "1" });
  expect(seen).toHaveLength(1);
  expect(["GET http://api.test/v1", "CONNECT api.test:80"]).toContain(seen[0]);
});

it("has no Node warn of its own way through a proxy, and takes no other warning", async () => {
  // Node 22.21 gives this one at its start.
  const script = `
    setTimeout(() => {
      console.log(Object.hasOwn(process, "emit"));
      process.emitWarning("the agent's own", { code: "UNDICI-EHPA" });
    }, 1);
    process.emitWarning("another", { code: "OTHER" });
  `;
  const before = await agent(`console.log(Object.hasOwn(process, "emit"));`, { NODE_OPTIONS: "" });
  const { stdout, stderr } = await agent(script, { NODE_USE_ENV_PROXY: "1" });
  expect(stdout).toBe(before.stdout);
  expect(stderr.match(/Warning: .*/g)).toEqual(["Warning: another", "Warning: the agent's own"]);
});

const MAJOR = Number(process.versions.node.split(".")[0]);
const reason = MAJOR >= 26 ? " (skipped: Node 26 has another undici inside, which the preload leaves alone)" : "";

describe.skipIf(reason !== "")(`the preload${reason}`, () => {
  it("is built beside the program as CommonJS", () => {
    expect(existsSync(PRELOAD)).toBe(true);
  });

  it("sends fetch of http through the proxy in absolute form", async () => {
    const { code, stdout } = await agent(`
      const answer = await fetch("http://api.test/v1");
      console.log(await answer.text());
    `);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "from the proxy\n" });
    expect(seen).toEqual(["GET http://api.test/v1"]);
  });

  it("sends fetch of https through the proxy by CONNECT", async () => {
    const { stdout } = await agent(`console.log(await fetch("https://api.test/v1").catch((error) => error.name));`);
    expect(stdout).toBe("TypeError\n");
    expect(seen).toEqual(["CONNECT api.test:443"]);
  });

  it("carries a body and takes a Request object", async () => {
    const { stdout } = await agent(`
      const request = new Request("http://api.test/v1", { method: "POST", body: "text" });
      console.log((await fetch(request)).status, (await fetch("http://api.test/v2", { method: "PUT", body: "x" })).status);
    `);
    expect(stdout).toBe("200 200\n");
    expect(seen).toEqual(["POST http://api.test/v1", "PUT http://api.test/v2"]);
  });

  it("leaves hosts of NO_PROXY alone", async () => {
    const { stdout } = await agent(`console.log((await fetch("${proxyUrl}/direct")).status);`, {
      NO_PROXY: "127.0.0.1",
    });
    expect(stdout).toBe("200\n");
    expect(seen).toEqual(["GET /direct"]);
  });

  it("loads no undici before the first fetch, and then puts Node's own fetch back", async () => {
    const { stdout } = await agent(`
      import { createRequire } from "node:module";
      const loaded = () => Object.keys(createRequire(import.meta.url).cache).some((file) => file.includes("undici"));
      const wrapped = fetch;
      const before = loaded();
      await fetch("http://api.test/");
      console.log(before, loaded(), fetch === wrapped, fetch.name);
      console.log((await wrapped("http://api.test/again")).status);
    `);
    expect(stdout).toBe("false true false fetch\n200\n");
  });

  it("does not replace a dispatcher that the agent chose itself", async () => {
    const { stdout } = await agent(`
      globalThis[Symbol.for("undici.globalDispatcher.1")] = new (class Chosen {
        dispatch() { throw new Error("chosen"); }
      })();
      console.log(await fetch("http://api.test/").catch((error) => error.cause?.message ?? error.message));
    `);
    expect(stdout).toBe("chosen\n");
    expect(seen).toEqual([]);
  });

  it("never throws into the agent: a wrong call fails as it does without us", async () => {
    const script = `console.log(await fetch().catch((error) => error.message));`;
    const without = await agent(script, { NODE_OPTIONS: "" });
    expect((await agent(script)).stdout).toBe(without.stdout);
  });

  it("lets the agent run when fetch is missing, fixed, or the proxy's address is none", async () => {
    // Node 24 always has fetch.
    const missing = [
      `console.log("fine");`,
      { NODE_OPTIONS: `--no-experimental-fetch --require "${PRELOAD}"` },
    ] as const;
    const scripts = [
      ...(MAJOR < 24 ? [missing] : []),
      [`console.log("fine");`, { HTTPS_PROXY: "not a url", HTTP_PROXY: "not a url" }],
      [`await fetch("${proxyUrl}/x"); console.log("fine");`, { HTTPS_PROXY: "::", HTTP_PROXY: "::" }],
    ] as const;
    for (const [script, environment] of scripts) {
      expect(await agent(script, environment)).toEqual({ code: 0, stdout: "fine\n", stderr: "" });
    }
  });

  it("does nothing without a proxy", async () => {
    const script = `console.log(String(Object.getOwnPropertyDescriptor(globalThis, "fetch").value));`;
    const none = { HTTP_PROXY: "", HTTPS_PROXY: "" };
    const without = await agent(script, { ...none, NODE_OPTIONS: "" });
    expect((await agent(script, none)).stdout).toBe(without.stdout);
    expect((await agent(script)).stdout).not.toBe(without.stdout);
  });

  it("works in worker threads and holds for every fetch at once", async () => {
    const { stdout } = await agent(`
      import { Worker } from "node:worker_threads";
      const worker = new Worker('fetch("http://api.test/worker").then((r) => console.log(r.status))', { eval: true });
      await new Promise((resolve) => worker.once("exit", resolve));
      const all = await Promise.all([1, 2, 3].map((n) => fetch("http://api.test/" + n)));
      console.log(all.map((r) => r.status).join(","));
    `);
    expect(stdout).toBe("200\n200,200,200\n");
    expect(seen).toHaveLength(4);
  });
});
