/** The built program as a process of its own between a client and a TLS upstream that counts what reaches it. */
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { createTestAuthority } from "../support/certificates.ts";
import { type Running, type RunOptions, startSidekey } from "../support/program.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

export const HOST = "api.example.test";
const KEY = "canary-audit-51c0a94e7d";

export interface Answer {
  /** 0 where the connection broke. */
  readonly status: number;
  readonly body: string;
}

export interface Scene {
  readonly work: Workspace;
  readonly upstream: TestUpstream;
  /** Paths that reached the upstream. */
  reached(): readonly string[];
  start(options?: Pick<RunOptions, "before">): Promise<Process>;
  /** Runs `sidekey audit verify`. */
  verify(): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
  close(): Promise<void>;
}

export interface Process extends Running {
  /** One request by the proxy; `id` is its path's end. */
  call(id: string): Promise<Answer>;
  /** Status and reasons of `/readyz`. */
  isReady(): Promise<Answer>;
}

const portOf = (address: unknown): number => Number(String(address).split(":").at(-1));

const read = (response: IncomingMessage): Promise<Answer> =>
  new Promise((resolve) => {
    let body = "";
    response.on("data", (chunk) => {
      body += String(chunk);
    });
    response.on("error", () => resolve({ status: 0, body }));
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
  });

const get = (port: number, path: string, headers: Record<string, string>, agent?: Agent): Promise<Answer> =>
  new Promise((resolve) => {
    const call = httpRequest({ host: "127.0.0.1", port, path, headers, ...(agent !== undefined && { agent }) });
    call.on("response", (response) => void read(response).then(resolve));
    call.on("error", (error) => resolve({ status: 0, body: error.message }));
    call.end();
  });

/** @param audit the `audit:` key of the file; `onRequest` sees each path before it is answered */
export const openScene = async (audit = "", onRequest: (path: string) => void = () => {}): Promise<Scene> => {
  const authority = await createTestAuthority();
  const tls = await authority.issue({ names: [HOST] });
  const upstream = await startUpstream({
    tls,
    handler(_, response, { path }) {
      onRequest(path);
      response.end("ok");
    },
  });
  const work = createWorkspace();
  work.write("upstream-ca.pem", authority.certificatePem);
  work.write(
    "sidekey.yaml",
    `version: 1
listen: { proxy: "127.0.0.1:0", health: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  api: { match: "https://${HOST}/v1/**", secret: API_KEY }
upstream:
  ca: ./upstream-ca.pem
  connect: { "${HOST}:443": "${upstream.address}" }
${audit}`,
  );
  const running = new Set<Running>();
  return {
    work,
    upstream,
    reached: () => upstream.requests.map(({ path }) => path),
    async start(options = {}) {
      const process = await startSidekey([], { cwd: work.path, environment: { API_KEY: KEY }, ...options });
      running.add(process);
      const agent = new Agent({ keepAlive: true, maxSockets: 64 });
      void process.end.finally(() => {
        running.delete(process);
        agent.destroy();
      });
      const headers = { host: HOST };
      return {
        ...process,
        call: (id) => get(portOf(process.ready["proxy"]), `https://${HOST}/v1/${id}`, headers, agent),
        isReady: () => get(portOf(process.ready["health"]), "/readyz", { host: "localhost" }),
      };
    },
    verify: () => work.sidekey(["audit", "verify"]),
    async close() {
      for (const { child, end } of running) {
        child.kill("SIGKILL");
        await end;
      }
      await upstream.close();
      work.remove();
    },
  };
};
