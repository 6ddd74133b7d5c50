import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createOwnListeners, openListener } from "../../../../src/sidecar/app/listeners.ts";

const bound = (address: string, port: number) => ({ address, port, family: address.includes(":") ? "IPv6" : "IPv4" });

describe("own listeners", () => {
  const known = (...addresses: string[]) => {
    const own = createOwnListeners(() => ["127.0.0.1", "192.0.2.7", "fe80::1%eth0", "2001:db8::7"]);
    for (const address of addresses) own.add(bound(address, 7070));
    return (address: string, port = 7070): boolean => own.has(address, port);
  };

  it("on one address are that address, in every spelling, and the unspecified ones", () => {
    const has = known("127.0.0.1");
    const yes = ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "0.0.0.0", "::", "::ffff:0.0.0.0"];
    const no = ["127.0.0.2", "::1", "192.0.2.7", "2001:db8::7", "198.51.100.1", "localhost", ""];
    expect(yes.filter((address) => has(address))).toEqual(yes);
    expect(no.filter((address) => has(address))).toEqual([]);
    expect(has("127.0.0.1", 7071)).toBe(false);
  });

  it.each(["0.0.0.0", "::"])("on %s are every address of this machine", (wildcard) => {
    const has = known(wildcard);
    const yes = [
      "127.0.0.1",
      "127.9.9.9",
      "::1",
      "192.0.2.7",
      "::ffff:192.0.2.7",
      "fe80::1",
      "2001:db8:0::7",
      "0.0.0.0",
    ];
    const no = ["192.0.2.8", "2001:db8::8", "198.51.100.1"];
    expect(yes.filter((address) => has(address))).toEqual(yes);
    expect(no.filter((address) => has(address))).toEqual([]);
    expect(has("192.0.2.7", 7071)).toBe(false);
  });

  it("may be several on one port", () => {
    const has = known("127.0.0.1", "127.0.0.2", "::1");
    expect(["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"].map((address) => has(address))).toEqual([
      true,
      true,
      false,
      true,
    ]);
  });
});

describe("a listener", () => {
  let directory: string;
  let servers: Server[];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "sidekey-listen-"));
    servers = [];
  });

  afterEach(async () => {
    for (const server of servers) await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true, force: true });
  });

  const server = (): Server => {
    const made = createServer((socket) => void socket.on("error", () => undefined).end("hello"));
    servers.push(made);
    return made;
  };
  const own = createOwnListeners();
  const at = (name: string) => ({ kind: "unix", path: join(directory, name) }) as const;
  const greeting = async (path: string): Promise<string> => {
    const socket = connect(path);
    const [chunk] = await once(socket, "data");
    socket.destroy();
    return String(chunk);
  };

  it("takes any free port for 0 and says which, IPv6 in brackets", async () => {
    const text = await openListener(server(), { kind: "tcp", host: "127.0.0.1", port: 0 }, "listen.proxy", own);
    expect(text).toMatch(/^127\.0\.0\.1:[1-9][0-9]+$/);
    expect(own.has("127.0.0.1", Number(text.split(":")[1]))).toBe(true);
    const six = await openListener(server(), { kind: "tcp", host: "::1", port: 0 }, "listen.proxy", own);
    expect(six).toMatch(/^\[::1\]:[1-9][0-9]+$/);
  });

  it("on a taken port says where, for which key, and what to do", async () => {
    const text = await openListener(server(), { kind: "tcp", host: "127.0.0.1", port: 0 }, "listen.proxy", own);
    const port = Number(text.split(":")[1]);
    await expect(
      openListener(server(), { kind: "tcp", host: "127.0.0.1", port }, "listen.gateway", own),
    ).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      detail: `listen.gateway: cannot listen on 127.0.0.1:${port} (EADDRINUSE)`,
      hint: expect.stringContaining("port 0 takes any free one"),
    });
  });

  it("on a unix socket is for its owner alone, and its file goes when it closes", async () => {
    const before = process.umask();
    const address = at("a.sock");
    const one = server();
    expect(await openListener(one, address, "listen.proxy", own)).toBe(`unix:${address.path}`);
    expect(statSync(address.path).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(before);
    expect(await greeting(address.path)).toBe("hello");
    await new Promise((resolve) => one.close(resolve));
    expect(existsSync(address.path)).toBe(false);
  });

  it("replaces the socket file of a dead process", async () => {
    const address = at("dead.sock");
    const code = `require("net").createServer().listen(${JSON.stringify(address.path)}, () => console.log("up"))`;
    const child = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(existsSync(address.path)).toBe(true);
    await openListener(server(), address, "listen.proxy", own);
    expect(await greeting(address.path)).toBe("hello");
  });

  it("leaves a socket alone that somebody answers", async () => {
    const address = at("live.sock");
    await openListener(server(), address, "listen.proxy", own);
    await expect(openListener(server(), address, "listen.gateway", own)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      detail: `listen.gateway: cannot listen on ${address.path} (EADDRINUSE)`,
    });
    expect(await greeting(address.path)).toBe("hello");
  });

  it("leaves a file alone that is no socket", async () => {
    const address = at("file");
    writeFileSync(address.path, "precious");
    await expect(openListener(server(), address, "listen.proxy", own)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      hint: expect.stringContaining("no socket"),
    });
    expect(statSync(address.path).size).toBe(8);
  });

  it("says that the directory is missing", async () => {
    await expect(openListener(server(), at("none/a.sock"), "listen.proxy", own)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      hint: expect.stringContaining("directory"),
    });
  });
});
