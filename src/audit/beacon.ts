/**
 * A unix socket that the holder of a lock keeps open beside it. Process ids mean nothing between pid namespaces (two
 * containers on one volume), a socket file does: whoever can see it can ask whether somebody still listens, and the
 * kernel closes it with the process, however that ends. It says nothing and reads nothing.
 */
import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import { basename, dirname } from "node:path";
import { errnoOf } from "./file-access.ts";

export interface Beacon {
  close(): void;
}

/** An address that a bound socket takes whole; longer ones are cut without a word. In `bytes`. */
const LONGEST_ADDRESS = 103;

/** The address by an open directory where the path is too long (Linux); undefined where neither will do. */
const withAddress = <T>(path: string, use: (address: string, done: () => void) => T): T | undefined => {
  if (Buffer.byteLength(path) <= LONGEST_ADDRESS) return use(path, () => undefined);
  const name = basename(path);
  if (process.platform !== "linux" || Buffer.byteLength(name) > LONGEST_ADDRESS - 24) return undefined;
  const fd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  return use(`/proc/self/fd/${fd}/${name}`, () => closeSync(fd));
};

/** Undefined where there can be none: a file system without sockets, or a path that is too long. */
export const openBeacon = (path: string): Promise<Beacon | undefined> =>
  new Promise((resolve) => {
    const begun = withAddress(path, (address, done) => {
      const server = createServer((socket) => {
        socket.on("error", () => undefined);
        socket.destroy();
      });
      server.unref();
      server.once("error", () => {
        done();
        resolve(undefined);
      });
      server.once("listening", () => {
        server.removeAllListeners("error").on("error", () => undefined);
        resolve({
          close() {
            // Removes its file as well, by the address it was bound to.
            server.close(done);
          },
        });
      });
      // Of its owner alone from the first instant it exists: `listen` binds before it returns.
      const before = process.umask(0o177);
      try {
        server.listen(address);
      } finally {
        process.umask(before);
      }
      return true;
    });
    if (begun === undefined) resolve(undefined);
  });

/** Whether somebody listens. False also where nothing is there, or where it may not be asked. */
export const askBeacon = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const begun = withAddress(path, (address, done) => {
      const socket = connect(address);
      const finish = (answer: boolean) => (): void => {
        socket.destroy();
        done();
        resolve(answer);
      };
      socket.once("connect", finish(true));
      // Its queue is full: so it is there, stopped perhaps.
      socket.once("error", (error) => finish(errnoOf(error) === "EAGAIN")());
      return true;
    });
    if (begun === undefined) resolve(false);
  });

/** What a dead holder left. */
export const removeBeacon = (path: string): void => {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
};
