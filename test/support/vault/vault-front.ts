/**
 * A TLS server on 127.0.0.1 before a vault: passes every call on, unless the test holds, drops or answers it itself. What
 * it is told to do it does to whole requests; for broken connections see `balancer.ts`.
 */
import { type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { createTestAuthority, type TestCertificateRequest } from "../certificates.ts";

/** Of one call: `true` = answered here. It may wait. */
export type Meddle = (call: FrontCall) => boolean | Promise<boolean>;

export interface FrontCall {
  /** `POST /v1/redeem` */
  readonly what: string;
  readonly response: ServerResponse;
  /** Passes it on now and gives the vault's answer on only once what it returns has settled. */
  holdAnswer(until: Promise<unknown>): void;
}

export interface VaultFront {
  /** `https://127.0.0.1:PORT` */
  readonly url: string;
  readonly port: number;
  /** PEM. */
  readonly ca: string;
  /** Of every call so far. */
  readonly calls: string[];
  setTarget(url: string): void;
  setMeddle(meddle: Meddle | undefined): void;
  close(): Promise<void>;
}

const HOP = /^(?:host|connection|keep-alive|transfer-encoding)$/;

export const startVaultFront = async (
  certificate: TestCertificateRequest = { ips: ["127.0.0.1"], names: ["localhost"] },
): Promise<VaultFront> => {
  const authority = await createTestAuthority("Test vault CA");
  const { cert, key } = await authority.issue(certificate);
  let target = "";
  let meddle: Meddle | undefined;
  const calls: string[] = [];

  const pass = (incoming: IncomingMessage, body: Buffer, response: ServerResponse, until: Promise<unknown>): void => {
    const { hostname, port } = new URL(target);
    const headers = Object.fromEntries(Object.entries(incoming.headers).filter(([name]) => !HOP.test(name)));
    const outgoing = request({ hostname, port, method: incoming.method, path: incoming.url, headers, agent: false });
    outgoing.on("error", () => response.destroy());
    outgoing.on("response", async (answer) => {
      await until;
      const kept = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !HOP.test(name)));
      response.writeHead(answer.statusCode ?? 502, kept);
      response.flushHeaders();
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    response.on("close", () => outgoing.destroy());
    outgoing.end(body);
  };

  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    incoming.on("error", () => {});
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const what = `${incoming.method} ${incoming.url}`;
    calls.push(what);
    let until: Promise<unknown> = Promise.resolve();
    const holdAnswer = (settled: Promise<unknown>): void => {
      until = settled;
    };
    if ((await meddle?.({ what, response, holdAnswer })) !== true)
      pass(incoming, Buffer.concat(chunks), response, until);
  };
  const listener = (incoming: IncomingMessage, response: ServerResponse): void => {
    serve(incoming, response).catch(() => response.destroy());
  };
  const server = createTlsServer({ cert, key }, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://127.0.0.1:${port}`,
    port,
    ca: authority.certificatePem,
    calls,
    setTarget(url) {
      target = url;
    },
    setMeddle(next) {
      meddle = next;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};
