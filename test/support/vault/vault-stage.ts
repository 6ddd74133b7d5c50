/** A vault server behind a balancer, an agent of it, an upstream, and a sidecar that has its secrets from there. */
import { randomBytes } from "node:crypto";
import type { Log } from "../../../src/core/log.ts";
import { type Balancer, startBalancer } from "../balancer.ts";
import { openConnection } from "../raw-client.ts";
import { startTestSidecar, type TestSidecar, type TestSidecarOptions } from "../sidecar.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../upstream.ts";
import { startTestVault, type TestVault } from "./test-vault.ts";

export interface VaultStage {
  readonly vault: TestVault;
  readonly balancer: Balancer;
  readonly upstream: TestUpstream;
  readonly logged: readonly string[];
  readonly agentKey: string;
  /** Puts a new value of 32 hex digits. */
  rotate(path: string): Promise<string>;
  put(path: string, value: string, more?: object): Promise<void>;
  /** `routes`: name to secret and more keys; each is at `/NAME/**` of the upstream. */
  sidecar(options?: StageSidecarOptions): Promise<StagedSidecar>;
}

export interface StageSidecarOptions {
  readonly routes?: Readonly<Record<string, string>>;
  /** Fields of the source beside its kind and address. Default the agent's key. */
  readonly source?: string;
  readonly more?: string;
  readonly files?: TestSidecarOptions["files"];
  readonly start?: TestSidecarOptions["start"];
}

export interface StagedSidecar extends TestSidecar {
  /** Status and code of one request. */
  ask(path?: string): Promise<readonly [status: number, code: string | undefined]>;
  /** What the upstream got as the last Authorization. */
  readonly sent: string | undefined;
}

export const API = "production/api/key";
export const OTHER = "production/other/key";

export const startVaultStage = async (
  closers: (() => Promise<unknown>)[],
  {
    yaml = "",
    scopes = ["secrets:use:production/*"],
    public: more = [],
    handler,
  }: {
    yaml?: string;
    scopes?: readonly string[];
    public?: readonly string[];
    /** Of the upstream. */
    handler?: UpstreamHandler;
  } = {},
): Promise<VaultStage> => {
  const balancer = await startBalancer();
  closers.push(() => balancer.close());
  const vault = await startTestVault({ yaml: `public_url: ${JSON.stringify([balancer.url, ...more])}\n${yaml}` });
  balancer.setTargets([Number(new URL(vault.url).port)]);
  const upstream = await startUpstream(handler === undefined ? {} : { handler });
  closers.push(() => upstream.close());
  const created = await vault.call("POST", "/v1/agents", {
    body: { name: "research", allowed_scopes: scopes, place: "acme/search" },
  });
  if (created.status !== 201) throw new Error(created.text);
  const agentKey: string = created.json.api_key;
  const logged: string[] = [];
  const write = (message: string, fields?: unknown): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { error: write, warn: write, info: write, debug: () => {} };

  const put = async (path: string, value: string, more: object = {}): Promise<void> => {
    const { status, text } = await vault.call("PUT", `/v1/secrets/${path}`, { body: { value, ...more } });
    if (status > 201) throw new Error(text);
  };

  return {
    vault,
    balancer,
    upstream,
    logged,
    agentKey,
    put,
    async rotate(path) {
      const value = randomBytes(16).toString("hex");
      await put(path, value);
      return value;
    },
    async sidecar({ routes = { api: `"vault:${API}"` }, source, more = "", files = {}, start = {} } = {}) {
      const lines = Object.entries(routes).map(
        ([name, secret]) => `  ${name}: { match: "http://127.0.0.1:${upstream.port}/${name}/**", secret: ${secret} }`,
      );
      const sidecar = await startTestSidecar({
        start: { log, ...start },
        files: { "agent-key": agentKey, ...files },
        file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { vault: { kind: sidekey, address: "${balancer.url}", ${source ?? "agent_key: { file: agent-key }"} } }
routes:
${lines.join("\n")}
${more}`,
      });
      closers.push(() => sidecar.close());
      const ask = async (path = "/api/x"): Promise<readonly [number, string | undefined]> => {
        const connection = await openConnection(sidecar.port);
        const origin = `127.0.0.1:${upstream.port}`;
        connection.send(`GET http://${origin}${path} HTTP/1.1\r\nHost: ${origin}\r\nConnection: close\r\n\r\n`);
        const { status, headers } = await connection.receive();
        connection.destroy();
        return [status, headers.get("x-sidekey-error")?.[0]];
      };
      return {
        ...sidecar,
        ask,
        get sent() {
          return upstream.requests.at(-1)?.header("authorization")[0];
        },
      };
    },
  };
};
