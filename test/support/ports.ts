/**
 * Ports for programs that cannot be told to choose one themselves. The kernel gives no port of these to anybody who asks
 * for port 0 or opens a connection, so what is free when it is chosen is free when the program listens, and after its
 * restart. Only two such programs that draw the same number could still meet.
 */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";

/** Below: ports that programs are known by. */
const LOWEST = 10_000;

/** The first port that the kernel gives out by itself (ip(7), ip_local_port_range); IANA's where it does not say. */
const firstOfKernel = (): number => {
  try {
    return Number.parseInt(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8"), 10);
  } catch {
    return 49_152;
  }
};

/** A port of 127.0.0.1 that nobody listens on, and that stays so until it is used. */
export const choosePort = async (): Promise<number> => {
  const end = firstOfKernel();
  // A kernel that gives out everything leaves nothing to choose from.
  if (!(end > LOWEST + 1_000)) return portOf(0);
  for (;;) {
    const port = await portOf(randomInt(LOWEST, end)).catch(() => undefined);
    if (port !== undefined) return port;
  }
};

/** Listens on it and stops. Rejects when it is taken. */
const portOf = (wanted: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(wanted, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : wanted));
    });
  });
