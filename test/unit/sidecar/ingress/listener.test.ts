import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { expect, it } from "vitest";
import { createListener } from "../../../../src/sidecar/ingress/listener.ts";
import { openConnection } from "../../../support/raw-client.ts";

it("survives the reset of a connection that is only turned away", async () => {
  const accepted: Socket[] = [];
  const server = createListener((socket) => {
    accepted.push(socket);
    socket.end("busy");
    socket.resume();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { socket } = await openConnection((server.address() as AddressInfo).port);
    await expect.poll(() => accepted.length).toBe(1);
    // Unhandled, it would end the process: this test's too.
    expect(accepted[0]?.listenerCount("error")).toBe(1);
    socket.resetAndDestroy();
    await expect.poll(() => accepted[0]?.errored).toMatchObject({ code: "ECONNRESET" });
    expect(accepted[0]?.destroyed).toBe(true);
  } finally {
    server.close();
  }
});
