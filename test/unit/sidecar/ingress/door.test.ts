import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { parseCidr } from "../../../../src/core/ip.ts";
import { silentLog } from "../../../../src/core/log.ts";
import { createDoor } from "../../../../src/sidecar/ingress/door.ts";
import type { RequestHandler } from "../../../../src/sidecar/ingress/handler.ts";
import { isLocalPeer } from "../../../../src/sidecar/ingress/listener-traits.ts";
import { createLoad } from "../../../../src/sidecar/ingress/load.ts";
import { aGeneration } from "../../../support/generation.ts";

const range = (text: string) => {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new Error(text);
  return cidr;
};

/** As much of a socket as the door looks at. */
const peer = (remoteAddress: string | undefined) => {
  const socket = {
    remoteAddress,
    destroyed: false,
    destroy: () => void Object.assign(socket, { destroyed: true }),
    once: () => socket,
  };
  return socket as unknown as Socket;
};

const handler = { createContext: () => ({ id: "a-1", startedAt: 0 }) } as unknown as RequestHandler;

const doorAt = (time: { now: number }) => {
  const warnings: unknown[] = [];
  const load = createLoad();
  const door = createDoor({
    handler,
    load,
    clock: { now: () => 0, monotonic: () => time.now },
    log: { ...silentLog, warn: (_text, fields) => void warnings.push(fields) },
    current: () => aGeneration(),
  });
  return { door, warnings, load };
};

describe("the door", () => {
  it("lets in whom the ranges name, in whichever form the system shows an address", () => {
    const { door, load } = doorAt({ now: 0 });
    const clients = [range("10.1.0.0/16"), range("fd00::/8"), range("fe80::/10")];
    const enters = (address: string | undefined): boolean => door.admit(peer(address), clients);
    const yes = ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fe80::1%eth0"];
    const no = ["10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1", "::1", "fc00::1", undefined];
    expect(yes.filter(enters)).toEqual(yes);
    expect(no.filter(enters)).toEqual([]);
    expect(load.strangers).toBe(no.length);
  });

  it("lets in everybody where no ranges are asked for", () => {
    expect(doorAt({ now: 0 }).door.admit(peer(undefined), undefined)).toBe(true);
  });

  it("destroys a stranger's connection and tells of them once a minute, with their number", () => {
    const time = { now: 5 };
    const { door, warnings, load } = doorAt(time);
    const stranger = peer("192.0.2.1");
    expect(door.admit(stranger, [range("10.0.0.0/8")])).toBe(false);
    expect(stranger.destroyed).toBe(true);
    for (let i = 0; i < 50; i++) door.admit(peer("192.0.2.2"), [range("10.0.0.0/8")]);
    time.now += 59_999;
    door.admit(peer("192.0.2.3"), [range("10.0.0.0/8")]);
    expect(warnings).toEqual([{ count: 1, from: "192.0.2.1" }]);
    time.now += 1;
    door.admit(peer("192.0.2.4"), [range("10.0.0.0/8")]);
    expect(warnings[1]).toEqual({ count: 52, from: "192.0.2.4" });
    expect(load.strangers).toBe(53);
  });
});

describe("a client", () => {
  it("is local on a unix socket and over loopback, and nowhere else", () => {
    const tcp = { kind: "tcp", clients: undefined } as const;
    expect(isLocalPeer(peer(undefined), { kind: "unix", clients: undefined })).toBe(true);
    expect(["127.0.0.1", "::1", "::ffff:127.0.0.1"].map((address) => isLocalPeer(peer(address), tcp))).toEqual([
      true,
      true,
      true,
    ]);
    expect(["10.0.0.1", "fe80::1%lo", undefined].map((address) => isLocalPeer(peer(address), tcp))).toEqual([
      false,
      false,
      false,
    ]);
  });
});
