/**
 * An API on this machine that stands for one on the internet: TLS under a CA of its own, and a note of every path that was
 * asked for with the right key. Nothing of the person's is in it.
 */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { parseHost } from "../../../core/authority.ts";
import { systemClock } from "../../../core/clock.ts";
import { createCertificateAuthority } from "../../../sidecar/tls/certificate-authority.ts";

export interface StandIn {
  /** PEM. */
  readonly ca: string;
  /** `127.0.0.1:PORT` */
  readonly address: string;
  /** What was asked for under this path: with the key, without it, or not at all. */
  seen(path: string): "with key" | "without key" | undefined;
  close(): Promise<void>;
}

/** A server with no repositories' refs, as git asks for them (gitprotocol-http(5)). */
const GIT_REFS = ((): string => {
  const packet = (text: string): string => (text.length + 4).toString(16).padStart(4, "0") + text;
  const none = packet(`${"0".repeat(40)} capabilities^{}\0agent=sidekey-doctor\n`);
  return `${packet("# service=git-upload-pack\n")}0000${none}0000`;
})();

/** `host` is the name its certificate is for, `key` what a call must carry as a bearer token. */
export const startStandIn = async (host: string, key: string): Promise<StandIn> => {
  const parsed = parseHost(host);
  if (parsed === undefined) throw new TypeError(`not a host: ${host}`);
  const authority = await createCertificateAuthority({ clock: systemClock, days: 1 });
  const { certPem, keyPem } = await authority.issue(parsed);
  const seen = new Map<string, "with key" | "without key">();
  const server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    const path = (request.url ?? "").replace(/\.git\/info\/refs\?.*$/, "");
    const isRight = request.headers.authorization === `Bearer ${key}`;
    seen.set(path, isRight ? "with key" : "without key");
    request.resume();
    if (!isRight) response.writeHead(401).end();
    else if (path === request.url) response.writeHead(200, { "content-type": "application/json" }).end('{"ok":true}');
    else {
      response.writeHead(200, { "content-type": "application/x-git-upload-pack-advertisement" }).end(GIT_REFS);
    }
  });
  // A client that breaks off is what is being looked for, and no fault of the server.
  server.on("tlsClientError", () => {}).on("clientError", (_, socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  return {
    ca: authority.certificatePem,
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen: (path) => seen.get(path),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};
