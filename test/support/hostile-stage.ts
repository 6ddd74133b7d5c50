/**
 * A sidecar between an agent and an upstream that means harm: raw bytes on both sides. Each answer is named by the path
 * that asks for it; `/after` is always answered well, to see what a bad answer leaves behind. Nobody listens behind `refused.test`.
 */
import { expect } from "vitest";
import { createTestAuthority } from "./certificates.ts";
import { leaksOf } from "./leaks.ts";
import { openTlsTunnel, type RawConnection, type RawResponse } from "./raw-client.ts";
import { type RawPeer, type RawScript, type RawUpstream, startRawUpstream } from "./raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "./sidecar.ts";

export const CANARY = "sk-canary-7be24c553f9a61d0c8";
export const HOST = "evil.test";
/** Stands where nothing of it may reach the next request. */
export const POISON = "POISON-9c1f";

export const get = (path: string, extra = ""): string => `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n${extra}\r\n`;

export interface Answered {
  readonly response: RawResponse;
  readonly connection: RawConnection;
}

export interface HostileStage {
  readonly upstream: RawUpstream;
  readonly sidecar: TestSidecar;
  tunnel(): Promise<RawConnection>;
  /** One request on a connection of its own, that stays open. Rejects when the answer is cut. */
  ask(bytes: string, method?: string): Promise<Answered>;
  /** Status and code of a refusal, and that its body is ours. */
  refusal(path: string): Promise<readonly [number, string | undefined]>;
  /** Gives the upstream the reputation of one that gives its bodies a length. */
  trust(): Promise<void>;
  /** The answer began and was cut before its end; returns what had arrived. */
  cut(bytes: string): Promise<string>;
  /** The next request is answered by its own answer; returns the upstream connection it came on. */
  after(connection?: RawConnection): Promise<number>;
  /** Upstream connection that carried the last request for this path. */
  peerOf(path: string): RawPeer | undefined;
  /** The outcome on record of the last request with this path. */
  outcome(path: string): Promise<Record<string, unknown>>;
  close(): Promise<void>;
}

export interface HostileStageOptions {
  /** By path, without `/`. */
  readonly answers: Readonly<Record<string, RawScript>>;
  readonly early?: RawScript;
  /** YAML flow map. */
  readonly timeouts?: string;
  /** More lines of the route, each `key: value`. */
  readonly route?: readonly string[];
  /** The credential instead of CANARY; not searched for when the stage closes. */
  readonly key?: string;
}

const AFTER = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter";

export const createHostileStage = async (options: HostileStageOptions): Promise<HostileStage> => {
  const authority = await createTestAuthority();
  const certificate = await authority.issue({ names: [HOST] });
  const carried = new Map<string, RawPeer>();
  const transcripts: RawConnection[] = [];
  const note =
    (script: RawScript): RawScript =>
    (request, peer) => {
      carried.set(request.path, peer);
      return script(request, peer);
    };
  const upstream = await startRawUpstream({
    tls: certificate,
    ...(options.early !== undefined && { early: note(options.early) }),
    script: note((request, peer) => {
      const name = request.path.slice(1).split("?")[0] ?? "";
      if (name === "after") return peer.send(AFTER);
      const script = options.answers[name];
      if (script === undefined) throw new Error(`no answer named ${name}`);
      return script(request, peer);
    }),
  });
  const sidecar = await startTestSidecar({
    environment: { KEY: options.key ?? CANARY },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
  evil:
    match: "https://${HOST}/**"
    secret: KEY
    timeouts: ${options.timeouts ?? "{ connect: 5s, headers: 20s, idle: 20s }"}
${(options.route ?? []).map((line) => `    ${line}\n`).join("")}
  refused: { match: "https://refused.test/**", secret: KEY }
upstream: { ca: ./ca.pem, connect: { "${HOST}:443": "${upstream.address}", "refused.test:443": "127.0.0.1:9" } }
`,
  });

  const tunnel = async (): Promise<RawConnection> => {
    const connection = await openTlsTunnel(sidecar.port, `${HOST}:443`, sidecar.ca);
    transcripts.push(connection);
    return connection;
  };
  const ask = async (bytes: string, method?: string): Promise<Answered> => {
    const connection = await tunnel();
    connection.send(bytes);
    return { response: await connection.receive(method), connection };
  };

  return {
    upstream,
    sidecar,
    tunnel,
    ask,
    async refusal(path) {
      const { response } = await ask(get(path));
      const body = JSON.parse(String(response.body)) as { error: { code: string } };
      expect(response.headers.get("x-sidekey-error")).toEqual([body.error.code]);
      return [response.status, body.error.code];
    },
    async trust() {
      const connection = await tunnel();
      for (let n = 0; n < 40; n++) {
        connection.send(get("/after"));
        await connection.receive();
      }
      connection.destroy();
    },
    async cut(bytes) {
      const connection = await tunnel();
      connection.send(bytes);
      await expect(connection.receive()).rejects.toThrow("connection ended");
      return connection.transcript.toString("latin1");
    },
    async after(kept) {
      const connection = kept ?? (await tunnel());
      connection.send(get("/after"));
      const response = await connection.receive();
      expect([response.status, String(response.body)]).toEqual([200, "after"]);
      connection.destroy();
      expect(connection.transcript.includes(POISON)).toBe(false);
      return carried.get("/after")?.number ?? 0;
    },
    peerOf: (path) => carried.get(path),
    async outcome(path) {
      let found: Record<string, unknown> | undefined;
      // Outcomes are written in company, a little later.
      await expect
        .poll(async () => {
          const records = await sidecar.audit();
          const id = records.filter((record) => record["path"] === path).at(-1)?.["request_id"];
          const own = records.filter((record) => record["request_id"] === id);
          found = own.at(-1);
          return own.map(({ type }) => type);
        })
        .toEqual(["intent", "outcome"]);
      return found ?? {};
    },
    async close() {
      for (const { transcript, socket } of transcripts) {
        expect(leaksOf(transcript, Buffer.from(CANARY))).toEqual([]);
        socket.destroy();
      }
      await sidecar.close();
      await upstream.close();
    },
  };
};
