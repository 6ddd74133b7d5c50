/** Another system that is told, on a port of its own until the test ends. */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterTest } from "./support.ts";

export interface Received {
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** A receiver that answers as told, the last answer for ever. */
export const receiver = async (
  ...answers: readonly ((response: ServerResponse) => void)[]
): Promise<{ readonly url: URL; readonly received: Received[] }> => {
  const received: Received[] = [];
  const answer: RequestListener = (request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => {
      body += text;
    });
    request.on("end", () => {
      const turn = answers[Math.min(received.length, answers.length - 1)];
      received.push({ headers: request.headers, body });
      turn?.(response);
    });
  };
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  afterTest(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { url: new URL(`http://127.0.0.1:${port}/hook?team=a`), received };
};

export const status =
  (code: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse): void =>
    void response.writeHead(code, headers).end();
