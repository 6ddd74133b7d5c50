/**
 * A sidecar with routes of the test's choosing to one upstream in cleartext on loopback, their secrets in files, and raw
 * requests through it: what each kind of injection makes of them is read off the upstream's request line and headers.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openConnection, type RawConnection, type RawResponse } from "./raw-client.ts";
import { startTestSidecar, type TestSidecar, type TestSidecarOptions } from "./sidecar.ts";
import { type ReceivedRequest, startUpstream, type TestUpstream, type UpstreamHandler } from "./upstream.ts";

export interface InjectionStage {
  readonly upstream: TestUpstream;
  readonly sidecar: TestSidecar;
  /** `target`: with its query. `lines`: headers. Each on a connection of its own. */
  ask(target: string, lines?: readonly string[], method?: string): Promise<Answer>;
  /** Records of requests, without the start. */
  audit(): Promise<Record<string, unknown>[]>;
  /** A new value for a secret. */
  set(name: string, value: string): void;
  close(): Promise<void>;
}

export interface Answer extends RawResponse {
  /** Of a refusal. */
  readonly code: string | undefined;
  /** What the upstream got; undefined when nothing reached it. */
  readonly received: ReceivedRequest | undefined;
  /** Every byte that the agent got. */
  readonly raw: Buffer;
}

export interface InjectionStageOptions {
  /** Secrets by name. */
  readonly secrets: Readonly<Record<string, string | Buffer>>;
  /** By the path below which it serves: the keys of a route but `match`, in YAML: `secret: one, inject: …`. */
  readonly routes: Readonly<Record<string, string>>;
  readonly handler?: UpstreamHandler;
  readonly more?: string;
  readonly start?: TestSidecarOptions["start"];
}

export const openInjectionStage = async (options: InjectionStageOptions): Promise<InjectionStage> => {
  const { secrets, routes, handler, more = "", start } = options;
  const upstream = await startUpstream(handler === undefined ? {} : { handler });
  const lines = Object.entries(routes).map(
    ([path, route], i) => `  r${i}: { match: "http://127.0.0.1:${upstream.port}${path}/**", ${route} }`,
  );
  const text = `
version: 1
listen: { proxy: "127.0.0.1:0", gateway: "127.0.0.1:0" }
sources: { files: { kind: file, root: . } }
routes:
${lines.join("\n")}
${more}`;
  const sidecar = await startTestSidecar({
    file: text,
    prepare: async (directory) => {
      for (const [name, value] of Object.entries(secrets)) writeFileSync(join(directory, name), value);
    },
    ...(start !== undefined && { start }),
  });
  const connections: RawConnection[] = [];
  return {
    upstream,
    sidecar,
    async ask(target, lines = [], method = "GET") {
      const before = upstream.requests.length;
      const connection = await openConnection(sidecar.port);
      connections.push(connection);
      const head = [`${method} ${upstream.origin}${target} HTTP/1.1`, `Host: 127.0.0.1:${upstream.port}`, ...lines];
      connection.send(Buffer.from(`${head.join("\r\n")}\r\n\r\n`, "latin1"));
      const response = await connection.receive(method);
      connection.destroy();
      const code = response.headers.get("x-sidekey-error")?.[0];
      return { ...response, code, received: upstream.requests[before], raw: connection.transcript };
    },
    audit: async () => (await sidecar.audit()).filter(({ type }) => type !== "start"),
    set: (name, value) => writeFileSync(join(sidecar.directory, name), value),
    async close() {
      for (const connection of connections) connection.destroy();
      await sidecar.close();
      await upstream.close();
    },
  };
};
