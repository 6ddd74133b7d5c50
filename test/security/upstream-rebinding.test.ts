/** B5, R23: what DNS says is judged address by address at every connect; what it does not say ends in time. */
import type { LookupAddress } from "node:dns";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Resolver } from "../../src/sidecar/net/lookup.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import { type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { watchStalls } from "../support/stalls.ts";

const CANARY = "canary-91b7d03e5c6f28a4";
const SAFE = "127.0.0.2";
const TRAP = "127.0.0.1";

let upstream: RawUpstream;
let trap: RawUpstream;
let sidecar: TestSidecar;
const stalls = watchStalls();
const counts = new Map<string, number>();

const at = (...addresses: string[]): LookupAddress[] =>
  addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));

type Answer = LookupAddress[] | string | "never";

/** By name: what the nth question is answered. */
const NAMES: Readonly<Record<string, (n: number) => Answer>> = {
  "alternating.test": (n) => (n % 2 === 0 ? at(SAFE) : at(TRAP)),
  "once.test": (n) => (n === 0 ? at(SAFE) : at(TRAP)),
  "both.test": () => at(TRAP, SAFE),
  "both-turned.test": () => at(SAFE, TRAP),
  "trap.test": () => at(TRAP),
  "mapped.test": () => at("::ffff:127.0.0.1"),
  "mapped-hex.test": () => at("::ffff:7f00:1"),
  "compatible.test": () => at("::127.0.0.1"),
  "loopback6.test": () => at("::1"),
  "mapped-safe.test": () => at("::ffff:127.0.0.2"),
  "lying-family.test": () => [{ address: TRAP, family: 6 }],
  "metadata.test": () => at("169.254.169.254"),
  "nat64.test": () => at("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
  "any.test": () => at("0.0.0.0", "::"),
  "short.test": () => at("127.1"),
  "hex.test": () => at("0x7f000001"),
  "number.test": () => at("2130706433"),
  "name.test": () => at("localhost"),
  "empty-text.test": () => at(""),
  "zone.test": () => at("fe80::1%lo", "::1%lo"),
  "dead-first.test": () => at("127.0.0.3", SAFE),
  "dead-many.test": () => at("127.0.0.3", "127.0.0.4", "127.0.0.5", SAFE),
  "dead.test": () => at("127.0.0.3"),
  "nobody.test": () => [],
  "not-found.test": () => "ENOTFOUND",
  "again.test": () => "EAI_AGAIN",
  "flapping.test": (n) => (n % 2 === 0 ? "EAI_AGAIN" : at(SAFE)),
  "never.test": () => "never",
};

const resolve: Resolver = (name, _options, done) => {
  const n = counts.get(name) ?? 0;
  counts.set(name, n + 1);
  const answer = NAMES[name]?.(n) ?? "ENOTFOUND";
  if (answer === "never") return;
  const error = typeof answer === "string" ? Object.assign(new Error(answer), { code: answer }) : null;
  setImmediate(() => {
    done(error, typeof answer === "string" ? [] : answer);
    // A resolver that answers twice changes nothing.
    done(null, at(TRAP));
  });
};

beforeAll(async () => {
  const authority = await createTestAuthority();
  const tls = await authority.issue({ names: ["*.test"].concat(Object.keys(NAMES)) });
  upstream = await startRawUpstream({
    tls,
    host: SAFE,
    script: async ({ path }, peer) => {
      // Closed each time, so that each request asks DNS again; kept where the path says so.
      const connection = path === "/keep" ? "keep-alive" : "close";
      await peer.send(`HTTP/1.1 200 OK\r\nConnection: ${connection}\r\nContent-Length: 2\r\n\r\nok`);
      if (connection === "close") peer.end();
    },
  });
  trap = await startRawUpstream({ tls, host: TRAP, port: upstream.port, script: () => undefined });
  sidecar = await startTestSidecar({
    environment: { KEY: CANARY },
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
egress: { allow: [${SAFE}/32, 127.0.0.3/32, 127.0.0.4/31, "64:ff9b::/96"] }
upstream: { ca: ./ca.pem }
routes:
${Object.keys(NAMES)
  .map((name) => `  "${name}:${upstream.port}": KEY`)
  .join("\n")}
`,
    start: { resolve },
  });
});

afterAll(async () => {
  stalls.stop();
  await sidecar.close();
  expect(trap.peers.map(({ received }) => String(received))).toEqual([]);
  await upstream.close();
  await trap.close();
});

const ask = async (name: string, path = "/x"): Promise<readonly [number, string | undefined]> => {
  const host = `${name}:${upstream.port}`;
  const connection = await openTlsTunnel(sidecar.port, host, sidecar.ca);
  connection.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const response = await connection.receive();
  connection.destroy();
  return [response.status, response.headers.get("x-sidekey-error")?.[0]];
};

const OK = [200, undefined];
const CLOSED = [403, "POLICY_ADDRESS"];

describe("a name", () => {
  it("whose address changes with every answer is judged at every connect, 100 times", async () => {
    for (let n = 0; n < 100; n++) {
      expect([n, await ask("alternating.test")]).toEqual([n, n % 2 === 0 ? OK : CLOSED]);
    }
    expect(counts.get("alternating.test")).toBe(100);
  });

  it("keeps the connection that was judged, whatever DNS says by now", async () => {
    expect(await ask("once.test", "/keep")).toEqual(OK);
    expect(await ask("once.test", "/keep")).toEqual(OK);
    expect(counts.get("once.test")).toBe(1);
    expect(await ask("once.test", "/close")).toEqual(OK);
    expect(await ask("once.test")).toEqual(CLOSED);
  });

  it.each(["both.test", "both-turned.test", "mapped-safe.test", "dead-first.test", "dead-many.test"])(
    "(%s) is reached by the open ones among its addresses",
    async (name) => {
      for (let n = 0; n < 5; n++) expect(await ask(name)).toEqual(OK);
    },
  );

  it.each([
    "trap.test",
    "mapped.test",
    "mapped-hex.test",
    "compatible.test",
    "loopback6.test",
    "lying-family.test",
    "metadata.test",
    "any.test",
    "short.test",
    "hex.test",
    "number.test",
    "name.test",
    "empty-text.test",
    "zone.test",
  ])("(%s) of closed addresses, or of none, is refused", async (name) => {
    for (let n = 0; n < 3; n++) expect(await ask(name)).toEqual(CLOSED);
  });

  it("is not led to a metadata service by a translator that is open", async () => {
    // 64:ff9b::7f00:1 may be tried and leads nowhere here; the other is never tried.
    const [status] = await ask("nat64.test");
    expect([403, 502, 504]).toContain(status);
  });

  it.each(["not-found.test", "again.test", "nobody.test", "dead.test"])("(%s) without a way is 502", async (name) => {
    expect(await ask(name)).toEqual([502, "UPSTREAM_UNREACHABLE"]);
  });

  it("that is there now and then is asked for anew by each request", async () => {
    for (let n = 0; n < 6; n++) {
      expect(await ask("flapping.test")).toEqual(n % 2 === 0 ? [502, "UPSTREAM_UNREACHABLE"] : OK);
    }
  });

  it("about which nobody answers is 504 after five seconds, and holds up nobody", async () => {
    await ask("once.test", "/keep").catch(() => undefined);
    expect(await ask("mapped-safe.test", "/keep")).toEqual(OK);
    const [began, stood] = [performance.now(), stalls.now()];
    const slow = Array.from({ length: 30 }, () => ask("never.test"));
    const own = stalls.now();
    expect(await ask("mapped-safe.test", "/keep")).toEqual(OK);
    expect(stalls.now() - own).toBeLessThan(2_000);
    // The audit did not wait either: all their intents are there long before their answers.
    await expect
      .poll(async () => (await sidecar.audit()).filter((one) => String(one["authority"]).startsWith("never")).length)
      .toBe(30);
    expect(stalls.now() - stood).toBeLessThan(4_500);
    for (const answer of await Promise.all(slow)) expect(answer).toEqual([504, "UPSTREAM_TIMEOUT"]);
    expect(performance.now() - began).toBeGreaterThan(4_900);
    expect(stalls.now() - stood).toBeLessThan(9_000);
  });
});
