/** How the load programs reach a subject. Whatever goes wrong ends the program: never print a figure from a run with an error. */
import { connect, type Socket } from "node:net";

export interface Entrance {
  /** `forward`: CONNECT to `host:443` first; otherwise a bare connection. */
  readonly mode: "forward" | "direct" | "cleartext";
  readonly port: number;
  readonly host: string;
}

export const fail = (message: string): never => {
  process.stderr.write(`load: ${message}\n`);
  process.exit(1);
};

/**
 * Not the address that subjects dial the upstream from: a proxy that looks for loops (mockttp) takes a client for itself
 * when address and port are those of a connection of its own, which the kernel lets happen.
 */
const CLIENT_ADDRESS = "127.0.0.2";

/** A TCP connection, in `forward` mode with a CONNECT that was answered 200. */
export const openTransport = (plan: Entrance): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", localAddress: CLIENT_ADDRESS, port: plan.port, noDelay: true });
    socket.on("error", (error) => fail(`connection: ${error.message}`));
    socket.once("connect", () => {
      if (plan.mode !== "forward") return resolve(socket);
      socket.write(`CONNECT ${plan.host}:443 HTTP/1.1\r\nHost: ${plan.host}:443\r\n\r\n`);
      let answer = "";
      const onClose = (): never => fail(`closed before the answer to CONNECT ${plan.host}: ${answer}`);
      socket.once("close", onClose);
      socket.on("data", function onData(chunk: Buffer) {
        answer += chunk.toString("latin1");
        if (!answer.endsWith("\r\n\r\n")) return;
        if (!answer.startsWith("HTTP/1.1 200 ")) fail(`CONNECT was answered: ${answer}`);
        socket.off("data", onData);
        socket.off("close", onClose);
        socket.pause();
        resolve(socket);
      });
    });
  });
