/** A TLS session that is resumed is not verified again: so it must never be one of another authority's. */
import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { expect, it } from "vitest";
import { type Authority, parseAuthority } from "../../../../src/core/authority.ts";
import { createSecurer } from "../../../../src/sidecar/net/secure.ts";
import { createTestAuthority } from "../../../support/certificates.ts";

const authorityOf = (text: string): Authority => {
  const authority = parseAuthority(text);
  if (authority === undefined) throw new Error(`no authority: ${text}`);
  return authority;
};

it.each(["TLSv1.2", "TLSv1.3"] as const)("resumes a session (%s) for its own authority alone", async (version) => {
  const ca = await createTestAuthority();
  const certificate = await ca.issue({ names: ["a.test"] });
  const server = createServer({ ...certificate, maxVersion: version }, (socket) => {
    socket.on("error", () => undefined);
    // A session of TLS 1.3 comes with what is said after the handshake.
    socket.write("hello");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const securer = createSecurer(ca.certificatePem);
  const sockets: Socket[] = [];
  const open = async (authority: string): Promise<TLSSocket | Error> => {
    const raw = connect((server.address() as AddressInfo).port, "127.0.0.1");
    sockets.push(raw);
    await once(raw, "connect");
    return new Promise((resolve) => {
      securer.secure(raw, authorityOf(authority), false, (error, connection) => {
        resolve(error ?? (connection?.socket as TLSSocket));
      });
    });
  };
  const reused = async (authority: string): Promise<boolean> => {
    const secure = await open(authority);
    if (secure instanceof Error) throw secure;
    await once(secure, "data");
    return secure.isSessionReused();
  };
  try {
    expect(await reused("a.test:443")).toBe(false);
    await expect.poll(() => reused("a.test:443")).toBe(true);
    for (const other of ["b.test:443", "127.0.0.1:443"]) expect(await open(other)).toBeInstanceOf(Error);
    // The same name on another port may be another server.
    expect(await reused("a.test:8443")).toBe(false);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});
