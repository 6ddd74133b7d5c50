/** A route of two secrets in the embedded vault: what holds for one secret holds for each, and never for one alone. */
import { writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { SecretValue } from "../../src/core/secret-value.ts";
import { parseScope } from "../../src/identity/scope.ts";
import { createTestAuthority, type TestAuthority } from "../support/certificates.ts";
import { leaksOf } from "../support/leaks.ts";
import { openTlsTunnel, type RawConnection } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream, type UpstreamHandler } from "../support/upstream.ts";
import { withVault } from "../support/vault/open-vault.ts";

const ONE = "production/api/key";
const TWO = "production/api/app";
const VALUE_ONE = "canary-one-5d1f0c93b7e84a26";
const VALUE_TWO = "canary-two-91ab6e72c0d35f48";
const NEWER = "canary-new-2c77d0e19b5f4a83";

let authority: TestAuthority;
beforeAll(async () => {
  authority = await createTestAuthority();
});

const closers: (() => Promise<unknown> | undefined)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Stage {
  readonly upstream: TestUpstream;
  readonly sidecar: TestSidecar;
  set(path: string, value: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** The file with another `inject`. */
  file(inject: string): string;
}

interface Options {
  readonly handler?: UpstreamHandler;
  /** Scopes of the token; default: the sidecar's own token. */
  readonly scopes?: readonly string[];
  /** Hosts of the second secret. */
  readonly hosts?: readonly string[];
}

const BOTH = `[{ kind: query, name: key, secret: ${ONE} }, { kind: header, name: X-App, secret: ${TWO} }]`;

const open = async ({ handler, scopes, hosts }: Options = {}): Promise<Stage> => {
  const tls = await authority.issue({ names: ["api.test"] });
  const upstream = await startUpstream({ tls, ...(handler !== undefined && { handler }) });
  closers.push(() => upstream.close());
  const file = (inject: string): string => `
version: 1
listen: { proxy: "127.0.0.1:0" }
${scopes === undefined ? "" : "sources: { local: { kind: local, token: { file: ./token } } }"}
routes: { api: { match: "https://api.test/**", inject: ${inject} } }
upstream: { ca: ./ca.pem, connect: { "api.test:443": "${upstream.address}" } }
`;
  const sidecar = await startTestSidecar({
    file: file(BOTH),
    files: { "ca.pem": authority.certificatePem, "sidekey.yaml": file(BOTH) },
    start: { watch: true },
    prepare: (directory) =>
      withVault(directory, async (vault) => {
        await vault.secrets.set(ONE, SecretValue.fromText(VALUE_ONE), {});
        await vault.secrets.set(TWO, SecretValue.fromText(VALUE_TWO), hosts === undefined ? {} : { hosts: [...hosts] });
        if (scopes === undefined) return;
        const issued = await vault.tokens.issue({ scopes: scopes.map(parseScope), ttlMs: 60_000, agent: "tester" });
        await writeFile(join(directory, "token"), `${issued.token}\n`, { mode: 0o600 });
      }),
  });
  closers.push(() => sidecar.close());
  return {
    upstream,
    sidecar,
    file,
    set: (path, value) =>
      withVault(sidecar.directory, async (vault) => {
        await vault.secrets.set(path, SecretValue.fromText(value), {});
      }),
    remove: (path) =>
      withVault(sidecar.directory, async (vault) => {
        await vault.secrets.remove(path);
      }),
  };
};

const connect = async ({ sidecar }: Stage): Promise<RawConnection> => {
  const connection = await openTlsTunnel(sidecar.port, "api.test:443", sidecar.ca);
  closers.push(async () => connection.destroy());
  return connection;
};

const REQUEST = "GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n";

const ask = async (stage: Stage) => {
  const before = stage.upstream.requests.length;
  const connection = await connect(stage);
  connection.send(REQUEST);
  const response = await connection.receive();
  return {
    fate: response.headers.get("x-sidekey-error")?.[0] ?? response.status,
    received: stage.upstream.requests[before],
    raw: connection.transcript,
  };
};

const secretsOf = async ({ sidecar }: Stage) =>
  (await sidecar.audit())
    .filter(({ type }) => type === "intent" || type === "refusal")
    .map(({ type, secret, version, code }) =>
      [type, secret, version, code].filter((one) => one !== undefined).join(" "),
    );

const NAMES = `local:${ONE},local:${TWO}`;

describe("two secrets", () => {
  it("are both in the sidecar's own token, and in the record with their versions", async () => {
    const stage = await open();
    expect((await ask(stage)).fate).toBe(200);
    await stage.set(TWO, NEWER);
    const { received } = await ask(stage);
    expect(received?.path).toBe(`/x?key=${VALUE_ONE}`);
    expect(received?.header("x-app")).toEqual([NEWER]);
    expect(await secretsOf(stage)).toEqual([`intent ${NAMES} 1,1`, `intent ${NAMES} 1,2`]);
    await withVault(stage.sidecar.directory, async (vault) => {
      const [token] = await vault.tokens.list();
      for (const path of [ONE, TWO]) expect(token?.scope).toContain(`secrets:use:${path}`);
    });
  });

  it.each([ONE, TWO])("are refused when the token covers %s alone", async (path) => {
    const stage = await open({ scopes: [`secrets:use:${path}`] });
    const { fate, received } = await ask(stage);
    expect([fate, received]).toEqual(["IDENTITY_SCOPE_DENIED", undefined]);
    expect(await secretsOf(stage)).toEqual([`refusal ${NAMES} IDENTITY_SCOPE_DENIED`]);
  });

  it("are refused when one of them is for another host", async () => {
    const stage = await open({ hosts: ["other.test"] });
    const { fate, received } = await ask(stage);
    expect([fate, received]).toEqual(["POLICY_SECRET_HOST", undefined]);
  });

  it.each([ONE, TWO])("are refused once %s was removed, and what is in flight is cut", async (path) => {
    const stage = await open({
      handler: (_request, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write("data: tick\n\n");
      },
    });
    const connection = await connect(stage);
    connection.send(REQUEST);
    await expect.poll(() => connection.buffered.toString()).toContain("data: tick");
    await stage.remove(path);
    await connection.closed();
    const { fate, received } = await ask(stage);
    expect([fate, received]).toEqual(["SOURCE_SECRET_MISSING", undefined]);
  });

  it("are looked for in both, and in what each was before", async () => {
    const stage = await open({
      handler: (_request, response, { path, header }) => {
        response.end(
          `${path} ${header("x-app")[0]} ${VALUE_ONE} ${VALUE_TWO} ${NEWER} ${Buffer.from(VALUE_TWO).toString("hex")}`,
        );
      },
    });
    await stage.set(TWO, NEWER);
    const { raw, received } = await ask(stage);
    expect(received?.header("x-app")).toEqual([NEWER]);
    for (const value of [VALUE_ONE, VALUE_TWO, NEWER]) {
      expect(leaksOf(raw, Buffer.from(value), { fragment: 8 }), value).toEqual([]);
    }
  });

  it("may become one at a reload: the other is neither sent nor shown, and ends nothing", async () => {
    const stage = await open({
      handler: (request, response, { header }) => {
        if (request.url?.startsWith("/hold") === true) {
          response.writeHead(200, { "content-type": "text/event-stream" });
          response.write("data: tick\n\n");
          return;
        }
        response.end(`${header("x-app").join()} ${VALUE_ONE} ${VALUE_TWO}`);
      },
    });
    expect((await ask(stage)).fate).toBe(200);
    const held = await connect(stage);
    held.send(REQUEST.replace("/x", "/hold"));
    await expect.poll(() => held.buffered.toString()).toContain("data: tick");
    writeFileSync(
      join(stage.sidecar.directory, "sidekey.yaml"),
      stage.file(`{ kind: query, name: key, secret: ${ONE} }`),
    );
    await expect.poll(async () => (await ask(stage)).received?.header("x-app")).toEqual([]);
    const { raw } = await ask(stage);
    for (const value of [VALUE_ONE, VALUE_TWO]) expect(leaksOf(raw, Buffer.from(value), { fragment: 8 })).toEqual([]);
    expect((await secretsOf(stage)).at(-1)).toBe(`intent local:${ONE} 1`);
    expect(held.socket.destroyed).toBe(false);
    // But the one that it was sent with may still be taken back.
    await stage.remove(TWO);
    await held.closed();
  });
});
