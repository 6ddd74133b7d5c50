import { once } from "node:events";
import type { SecureContext, TLSSocket } from "node:tls";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Host } from "../../../../src/core/authority.ts";
import { systemClock } from "../../../../src/core/clock.ts";
import { fixedAuthority } from "../../../../src/sidecar/tls/authority-source.ts";
import {
  type CertificateAuthority,
  createCertificateAuthority,
} from "../../../../src/sidecar/tls/certificate-authority.ts";
import { type ContextCache, createContextCache } from "../../../../src/sidecar/tls/context-cache.ts";
import { type ContextServer, dial, serveContext } from "./handshake.ts";

const HOUR = 3_600_000;
const named = (name: string): Host => ({ kind: "name", name });

let real: CertificateAuthority;
/** Times of `clock`. */
let now: number;
let monotonic: number;
let asked: string[];
let counted: CertificateAuthority;
let cache: ContextCache;
let server: ContextServer | undefined;
const clock = { now: () => now, monotonic: () => monotonic };

beforeAll(async () => {
  real = await createCertificateAuthority({ clock: systemClock });
});
beforeEach(() => {
  now = Date.now();
  monotonic = 0;
  asked = [];
  counted = {
    ...real,
    issue: async (host) => {
      asked.push(host.name);
      return { ...(await real.issue(host)), notAfter: now + 24 * HOUR };
    },
  };
  cache = createContextCache({ authority: fixedAuthority(counted), clock });
});
afterEach(async () => {
  await server?.close();
  server = undefined;
});

describe("the context cache", () => {
  test("mints once for a host, however many ask at once, and answers at once afterwards", async () => {
    const contexts = await Promise.all(Array.from({ length: 20 }, () => cache.get(named("a.test"))));
    expect(new Set(contexts).size).toBe(1);
    expect(asked).toEqual(["a.test"]);
    expect(cache.get(named("a.test"))).toBe(contexts[0]);
  });

  test("renews at two thirds of the leaf's life", async () => {
    const first = await cache.get(named("a.test"));
    now += 16 * HOUR - 1;
    expect(cache.get(named("a.test"))).toBe(first);
    now += 1;
    expect(await cache.get(named("a.test"))).not.toBe(first);
    expect(asked).toEqual(["a.test", "a.test"]);
  });

  test("forgets the least recently used host first", async () => {
    cache = createContextCache({ authority: fixedAuthority(counted), clock, max: 2 });
    await cache.get(named("a.test"));
    await cache.get(named("b.test"));
    await cache.get(named("a.test"));
    await cache.get(named("c.test"));
    asked.length = 0;
    await cache.get(named("a.test"));
    await cache.get(named("c.test"));
    expect(asked).toEqual([]);
    await cache.get(named("b.test"));
    expect(asked).toEqual(["b.test"]);
  });

  test("mints at most 50 in any second, and keeps serving what it has", async () => {
    const first = await cache.get(named("h0.test"));
    monotonic = 990;
    const rest = Array.from({ length: 60 }, (_, i) => Promise.resolve(cache.get(named(`h${i + 1}.test`))));
    const settled = await Promise.allSettled(rest);
    expect(settled.filter((result) => result.status === "fulfilled")).toHaveLength(49);
    for (const result of settled) {
      if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "OVERLOADED" });
    }
    expect(cache.get(named("h0.test"))).toBe(first);
    monotonic = 1000;
    await cache.get(named("x.test"));
    await expect(cache.get(named("y.test"))).rejects.toMatchObject({ code: "OVERLOADED" });
    monotonic = 1990;
    await cache.get(named("y.test"));
  });

  test("serves a leaf that is due for renewal while others use up the rate, and never past its end", async () => {
    const first = await cache.get(named("a.test"));
    now += 16 * HOUR;
    monotonic = 5000;
    await Promise.all(Array.from({ length: 50 }, (_, i) => cache.get(named(`h${i}.test`))));
    expect(await cache.get(named("a.test"))).toBe(first);
    now += 8 * HOUR;
    await expect(cache.get(named("a.test"))).rejects.toMatchObject({ code: "OVERLOADED" });
  });

  test("mints anew when the clock was put back to before a leaf begins", async () => {
    const first = await cache.get(named("a.test"));
    now -= 2 * HOUR;
    expect(await cache.get(named("a.test"))).not.toBe(first);
  });

  test("mints anew once another CA signs", async () => {
    const other = await createCertificateAuthority({ clock: systemClock });
    let signing = real;
    const authority = { current: () => signing, latest: () => Promise.resolve(signing), settled: async () => {} };
    cache = createContextCache({ authority, clock: systemClock });
    const first = await cache.get(named("a.test"));
    expect(await cache.get(named("a.test"))).toBe(first);
    signing = other;
    expect(await cache.get(named("a.test"))).not.toBe(first);
  });

  test("does not remember a failure", async () => {
    let failing = true;
    cache = createContextCache({
      authority: fixedAuthority({
        ...real,
        issue: (host) => (failing ? Promise.reject(new Error("no")) : real.issue(host)),
      }),
      clock,
    });
    await expect(cache.get(named("a.test"))).rejects.toThrow("no");
    failing = false;
    expect(await cache.get(named("a.test"))).toBeDefined();
  });
});

/** The session as it is once the server's tickets are in: they come before the first echoed byte. */
const sessionOf = async (socket: TLSSocket): Promise<Buffer> => {
  socket.write("x");
  await once(socket, "data");
  return socket.getSession() ?? Buffer.alloc(0);
};

describe("a cached context", () => {
  const serve = async (): Promise<number> => {
    server = await serveContext(() => cache.get(named("a.test")));
    return server.port;
  };
  const client = {
    get ca() {
      return real.certificatePem;
    },
    servername: "a.test",
  };

  test.each(["TLSv1.2", "TLSv1.3"] as const)("resumes a %s session on a second connection", async (version) => {
    const port = await serve();
    const only = { ...client, minVersion: version, maxVersion: version };
    const first = await dial(port, only);
    const session = await sessionOf(first);
    expect(first.isSessionReused()).toBe(false);
    first.destroy();
    const second = await dial(port, { ...only, session });
    expect(second.isSessionReused()).toBe(true);
    expect(second.authorized).toBe(true);
    second.destroy();
    expect(asked).toHaveLength(1);
  });

  test("does not resume the session of another host", async () => {
    const hosts = ["a.test", "b.test"];
    let turn = 0;
    server = await serveContext((): SecureContext | Promise<SecureContext> => cache.get(named(hosts[turn++] ?? "")));
    const first = await dial(server.port, client);
    const session = await sessionOf(first);
    first.destroy();
    const second = await dial(server.port, { ...client, servername: "b.test", session });
    expect(second.isSessionReused()).toBe(false);
    second.destroy();
  });

  test("refuses TLS 1.1, and leaves ALPN to the caller", async () => {
    const port = await serve();
    const old = { ...client, minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" } as const;
    await expect(dial(port, old)).rejects.toBeInstanceOf(Error);
    const socket = await dial(port, { ...client, ALPNProtocols: ["http/1.1"] });
    expect(socket.alpnProtocol).toBe("http/1.1");
    socket.destroy();
  });
});
