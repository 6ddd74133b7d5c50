/** The vault's server over TLS: its versions, its certificate when that changes, and clients that need one. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type RequestOptions, request } from "node:https";
import { connect as connectPlain } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { describe, expect, it, onTestFinished } from "vitest";
import { silentLog } from "../../src/core/log.ts";
import { createTestAuthority, type TestCertificate } from "../support/certificates.ts";
import { startTestVault } from "../support/vault/test-vault.ts";

const authority = await createTestAuthority();

const stage = async (
  options: { readonly clients?: boolean; readonly yaml?: string; readonly handshakeTimeout?: number } = {},
) => {
  const directory = mkdtempSync(join(tmpdir(), "sidekey-vault-tls-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const write = ({ cert, key }: TestCertificate): void => {
    writeFileSync(join(directory, "cert.pem"), cert);
    writeFileSync(join(directory, "key.pem"), key, { mode: 0o600 });
  };
  writeFileSync(join(directory, "ca.pem"), authority.certificatePem);
  write(await authority.issue({ ips: ["127.0.0.1"] }));
  const clientCa = options.clients === true ? `, client_ca: ${directory}/ca.pem` : "";
  const messages: string[] = [];
  const log = { ...silentLog, error: (message: string) => void messages.push(message) };
  const yaml = `tls: { cert: ${directory}/cert.pem, key: ${directory}/key.pem${clientCa} }\n${options.yaml ?? ""}`;
  const { handshakeTimeout } = options;
  const vault = await startTestVault({
    yaml,
    log,
    ...(handshakeTimeout !== undefined && { sockets: { handshakeTimeout } }),
  });
  const port = Number(new URL(vault.url).port);
  return { directory, write, vault, port, messages };
};

const ask = (
  port: number,
  options: RequestOptions = {},
): Promise<{ status: number; headers: NodeJS.Dict<string | string[]> }> =>
  new Promise((resolve, reject) => {
    const sent = request(
      { host: "127.0.0.1", port, path: "/v1/health", ca: authority.certificatePem, agent: false, ...options },
      (answer) => {
        answer.resume();
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers }));
      },
    );
    sent.on("error", reject);
    sent.end();
  });

const serialOf = async (port: number): Promise<string> => {
  const socket: TLSSocket = connect({ port, host: "127.0.0.1", ca: authority.certificatePem });
  await new Promise<void>((resolve, reject) => void socket.once("secureConnect", resolve).once("error", reject));
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
};

describe("TLS", () => {
  it("is spoken from version 1.2, and says that it is to be used again", async () => {
    const { port, vault } = await stage();
    expect(vault.url).toBe(`https://127.0.0.1:${port}`);
    const { status, headers } = await ask(port);
    expect([status, headers["strict-transport-security"]]).toEqual([200, "max-age=31536000"]);
    expect((await ask(port, { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" })).status).toBe(200);
    await expect(
      ask(port, { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" }),
    ).rejects.toThrow();
    await expect(fetch(`http://127.0.0.1:${port}/v1/health`)).rejects.toThrow();
  });

  it("takes a new certificate from its files, keeps what is open, and the old one when the new does not fit", async () => {
    const { directory, port, write, messages } = await stage();
    const before = await serialOf(port);
    const open = connect({ port, host: "127.0.0.1", ca: authority.certificatePem });
    onTestFinished(() => void open.destroy());
    await new Promise<void>((resolve) => open.once("secureConnect", () => resolve()));
    write(await authority.issue({ ips: ["127.0.0.1"] }));
    await expect.poll(() => serialOf(port)).not.toBe(before);
    const second = await serialOf(port);
    let text = "";
    open.on("data", (chunk) => {
      text += String(chunk);
    });
    open.write("GET /v1/health HTTP/1.1\r\nHost: v\r\n\r\n");
    await expect.poll(() => text).toContain("200 OK");
    writeFileSync(join(directory, "cert.pem"), "no certificate");
    await expect.poll(() => messages).toContain("the certificate cannot be used, the one before stays");
    expect(await serialOf(port)).toBe(second);
  });

  it("asks clients for a certificate where the file names who issues them", async () => {
    const { port } = await stage({ clients: true });
    await expect(ask(port)).rejects.toThrow();
    const { cert, key } = await authority.issue({ names: ["client.test"] });
    expect((await ask(port, { cert, key })).status).toBe(200);
    const stranger = await (await createTestAuthority()).issue({ names: ["client.test"] });
    await expect(ask(port, { cert: stranger.cert, key: stranger.key })).rejects.toThrow();
  });

  it("gives back the place of who connects and says nothing, or nothing of TLS", async () => {
    const { port } = await stage({ yaml: "limits: { connections: 4 }\n", handshakeTimeout: 300 });
    const closed: string[] = [];
    for (const said of ["", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02", "x"]) {
      const socket = connectPlain({ port, host: "127.0.0.1", allowHalfOpen: true });
      socket.on("error", () => {});
      socket.on("close", () => closed.push(said));
      socket.on("end", () => socket.end());
      onTestFinished(() => void socket.destroy());
      socket.write(said);
    }
    await expect.poll(() => closed.length).toBe(4);
    expect((await ask(port)).status).toBe(200);
  });

  it("does not start with files that are no certificate and its key", async () => {
    const directory = mkdtempSync(join(tmpdir(), "sidekey-vault-tls-"));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const one = await authority.issue({ ips: ["127.0.0.1"] });
    const other = await authority.issue({ ips: ["127.0.0.1"] });
    writeFileSync(join(directory, "cert.pem"), one.cert);
    writeFileSync(join(directory, "key.pem"), other.key);
    const yaml = (key: string): string => `tls: { cert: ${directory}/cert.pem, key: ${directory}/${key} }\n`;
    await expect(startTestVault({ yaml: yaml("key.pem") })).rejects.toThrow("VAULT_SERVER_TLS");
    await expect(startTestVault({ yaml: yaml("none.pem") })).rejects.toThrow("VAULT_SERVER_TLS");
  });
});
