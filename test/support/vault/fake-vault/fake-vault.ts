/**
 * A vault's API in memory, written by its description and sharing no code with the server: so that the client and the
 * commands are held against what was agreed on, and not against what the server happens to do. The same suite runs over
 * the real one (test/conformance/vault-client.test.ts). Approvals: a token that reaches a secret of tier `sensitive`.
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createCallers } from "./callers.ts";
import { createIdentityCalls } from "./identity.ts";
import { createSecretCalls } from "./secrets.ts";
import { type Ask, type Body, createState, Refusal } from "./state.ts";

export interface FakeVault {
  readonly address: string;
  readonly operatorKey: string;
  /** Asks for a nonce in proofs from now on. */
  demandNonce(): void;
  close(): Promise<void>;
}

export interface FakeOptions {
  /** PEM; then it is https. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Name in the address; default 127.0.0.1. */
  readonly host?: string;
}

export const startFakeVault = async ({ tls, host = "127.0.0.1" }: FakeOptions = {}): Promise<FakeVault> => {
  let origin = "";
  const state = createState();
  const callers = createCallers(state, () => origin);
  const secretCalls = createSecretCalls(state);
  const identityCalls = createIdentityCalls(state);

  const answer = async (ask: Ask): Promise<[number, Body | undefined]> => {
    const { method, url, body } = ask;
    if (url.pathname === "/v1/health") return [200, { status: "ok", version: "0.0.0", service: "sidekey-vault" }];
    const caller = await callers.of(ask);
    if (`${method} ${url.pathname}` === "POST /v1/redeem") return [200, secretCalls.redeem(caller, body)];
    return /^\/v1\/secrets(?:\/|$)/.test(url.pathname) ? secretCalls.answer(ask, caller) : identityCalls(ask, caller);
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString("utf8");
    const ask: Ask = {
      method: request.method ?? "",
      url: new URL(request.url ?? "/", origin),
      request,
      body: text === "" ? {} : JSON.parse(text),
    };
    const send = (status: number, body: Body | undefined, headers: Record<string, string> = {}): void => {
      response.writeHead(status, { ...(body !== undefined && { "content-type": "application/json" }), ...headers });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    };
    try {
      if (ask.url.pathname === "/v1/events") {
        const caller = await callers.of(ask);
        response.writeHead(200, { "content-type": "text/event-stream" });
        const generation = state.generation();
        response.write(`id: ${generation}\nevent: ready\ndata: ${JSON.stringify({ generation })}\n\n`);
        state.streams.set(response, caller);
        response.on("close", () => state.streams.delete(response));
        return;
      }
      send(...(await answer(ask)));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { status, code, headers } = error;
      const message = `Refused: ${code}.`;
      send(
        status,
        { error: { code, message, request_id: randomUUID(), hint: "See the docs." }, detail: message },
        headers,
      );
    }
  };

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const place = server.address();
  origin = `${tls === undefined ? "http" : "https"}://${host}:${typeof place === "object" ? place?.port : 0}`;
  return {
    address: origin,
    operatorKey: state.operator.key,
    demandNonce: () => callers.demandNonce(),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};
