/** Opens a port or a unix socket of a configuration file. */
import { lstat, unlink } from "node:fs/promises";
import { type AddressInfo, connect, type Server } from "node:net";
import { SidekeyError } from "../core/errors.ts";
import type { ListenAddress } from "./addresses.ts";

/** Listens. `key` is the key of the file, for messages. A string is the path of a unix socket. Errors: CONFIG_INVALID. */
export const listen = async (server: Server, address: ListenAddress, key: string): Promise<AddressInfo | string> => {
  try {
    await bind(server, address);
  } catch (cause) {
    if (address.kind !== "unix" || codeOf(cause) !== "EADDRINUSE") throw listenFailure(address, key, cause);
    await removeStaleSocket(address.path, key, cause);
    await bind(server, address).catch((again: unknown) => {
      throw listenFailure(address, key, again);
    });
  }
  return server.address() ?? "";
};

/** As a ready line shows it: `HOST:PORT` or `unix:PATH`. */
export const formatBound = (bound: AddressInfo | string): string =>
  typeof bound === "string" ? `unix:${bound}` : formatTcp({ host: bound.address, port: bound.port });

const bind = (server: Server, address: ListenAddress): Promise<void> =>
  new Promise((resolve, reject) => {
    const succeed = (): void => {
      server.off("error", fail);
      resolve();
    };
    const fail = (error: Error): void => {
      server.off("listening", succeed);
      reject(error);
    };
    server.once("error", fail).once("listening", succeed);
    if (address.kind === "tcp") {
      server.listen(address.port, address.host);
      return;
    }
    // Only this uid may connect, from the first instant the socket exists (ruling 19): `listen` binds before it returns.
    const before = process.umask(0o177);
    try {
      server.listen(address.path);
    } finally {
      process.umask(before);
    }
  });

/** A killed process leaves its socket file behind. Only a file that is a socket and that nobody answers is removed. */
const removeStaleSocket = async (path: string, key: string, cause: unknown): Promise<void> => {
  const address = { kind: "unix", path } as const;
  const found = await lstat(path).catch(() => undefined);
  // Gone meanwhile: the second attempt shows.
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw listenFailure(address, key, cause, "A file that is no socket stands there; remove it, or name another path.");
  }
  if ((await probe(path)) !== "ECONNREFUSED") throw listenFailure(address, key, cause);
  const now = await lstat(path).catch(() => undefined);
  // Another process may have put its own there between the two looks.
  if (now === undefined || now.ino !== found.ino || now.dev !== found.dev) return;
  await unlink(path).catch((failure: unknown) => {
    throw listenFailure(address, key, failure);
  });
};

/** The code that a connection fails with; undefined when somebody answers. */
const probe = (path: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once("error", (error) => resolve(codeOf(error)));
  });

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "Stop what listens there, or give another address; port 0 takes any free one.",
  EADDRNOTAVAIL: "No interface of this machine has this address.",
  EACCES: "This user may not listen there; use a port from 1024, or a directory of its own.",
  ENOENT: "Make the socket's directory first.",
};

const listenFailure = (address: ListenAddress, key: string, cause: unknown, hint?: string): SidekeyError => {
  const code = codeOf(cause);
  const where = address.kind === "tcp" ? formatTcp(address) : address.path;
  const advice = hint ?? HINTS[code];
  return new SidekeyError("CONFIG_INVALID", {
    detail: `${key}: cannot listen on ${where} (${code})`,
    cause,
    ...(advice !== undefined && { hint: advice }),
  });
};

const formatTcp = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
