/**
 * Two TLS sockets of Node and one header swapped between them: no HTTP, no policy, one upstream connection for each of an
 * agent's. What it costs is the floor of any proxy on node:tls.
 */
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, TLSSocket } from "node:tls";

interface SplicePlan {
  readonly host: string;
  readonly upstreamPort: number;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  readonly secret: string;
}

const plan = JSON.parse(process.argv[2] ?? "") as SplicePlan;
const trust = createSecureContext({ ca: readFileSync(plan.ca) });
const context = createSecureContext({ cert: readFileSync(plan.certificate), key: readFileSync(plan.key) });

const splice = (socket: Socket): void => {
  const raw = connect({ host: "127.0.0.1", port: plan.upstreamPort, noDelay: true });
  const upstream = connectTls({ socket: raw, servername: plan.host, secureContext: trust });
  socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
  const agent = new TLSSocket(socket, { isServer: true, secureContext: context });
  agent.on("data", (chunk: Buffer) => {
    const text = chunk.toString("latin1").replace(/(?<=\r\nAuthorization: ).*/, () => `Bearer ${plan.secret}`);
    upstream.write(text, "latin1");
  });
  upstream.on("data", (chunk: Buffer) => void agent.write(chunk));
  const end = (): void => {
    agent.destroy();
    upstream.destroy();
  };
  for (const side of [agent, upstream]) side.on("error", end).on("close", end);
};

const server = createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  // The load sends CONNECT in one piece, and nothing before it is answered.
  socket.once("data", () => splice(socket));
});
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
