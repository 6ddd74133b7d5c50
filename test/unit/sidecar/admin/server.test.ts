/** What the operator's API does when a part of the sidecar throws. */
import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { createAdminServer, createProbeServer } from "../../../../src/sidecar/admin/server.ts";
import { openConnection } from "../../../support/raw-client.ts";

const CANARY = "canary-0a1b2c3d4e5f";
const fault = (): never => {
  throw new Error(`about ${CANARY}`);
};

let server: Server | undefined;
afterEach(() => {
  server?.close();
  server?.closeAllConnections();
});

describe("an endpoint that throws", () => {
  it.each([
    ["/status", "admin"],
    ["/metrics", "admin"],
    ["/metrics", "probes"],
    ["/readyz", "probes"],
  ] as const)("%s of %s is 500 without a word of why, and told to the log's side once", async (path, which) => {
    const told: unknown[] = [];
    const telling = {
      readiness: fault,
      metrics: async () => fault(),
      failed: (at: string, error: unknown) => void told.push([at, error instanceof Error]),
    };
    const made =
      which === "admin"
        ? createAdminServer({ ...telling, status: fault, reload: async () => fault() })
        : createProbeServer({ ...telling, clients: undefined });
    server = made.listen(0, "127.0.0.1");
    await once(made, "listening");
    const connection = await openConnection((made.address() as AddressInfo).port);
    connection.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    const { status, body } = await connection.receive();
    connection.destroy();
    expect(status).toBe(500);
    expect(body.toString()).not.toContain(CANARY);
    expect(told).toEqual([[path, true]]);
  });
});
