/** Every kind of injection with the built program: what `check` and `explain` say, and what leaves from under `run`. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestAuthority } from "../support/certificates.ts";
import { leaksOf } from "../support/leaks.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";
import { createWorkspace, type Workspace } from "../support/workspace.ts";

const HOST = "api.example.test";
const KEY = "canary+key/4f9d1c27b80e63a5";
const TOKEN = "canary-token-91ab6e72c0d35f48";

let work: Workspace;
let upstream: TestUpstream;

const ROUTES = `
routes:
  query: { match: "https://${HOST}/query/**", secret: production/x/key, inject: { kind: query, name: api_key } }
  path: { match: "https://${HOST}/path/**", secret: production/x/token, inject: { kind: path, format: "/bot{secret}" } }
  cookie: { match: "https://${HOST}/cookie/**", secret: production/x/token, inject: { kind: cookie, name: session } }
  swap:
    match: https://${HOST}/swap/**
    secret: production/x/token
    inject: { kind: placeholder, in: [basic, "query:token"] }
    env: SWAP_TOKEN
  several:
    match: https://${HOST}/several/**
    inject:
      - { kind: header, name: X-Api-Key, secret: production/x/key }
      - { kind: query, name: token, secret: production/x/token }
`;

beforeAll(async () => {
  const authority = await createTestAuthority();
  upstream = await startUpstream({
    tls: await authority.issue({ names: [HOST] }),
    // The worst kind: it tells whatever it was sent.
    handler: async (request, response, { path, rawHeaders }) => {
      for await (const _ of request);
      response.setHeader("x-path", path);
      response.end(`${path}\n${decodeURIComponent(path)}\n${rawHeaders.join("\n")}\n`);
    },
  });
  work = createWorkspace();
  work.write("ca.pem", authority.certificatePem);
  work.write(
    "sidekey.yaml",
    `version: 1
listen: { proxy: "127.0.0.1:0" }
upstream: { ca: ./ca.pem, connect: { "${HOST}:443": "${upstream.address}" } }
${ROUTES}`,
  );
  for (const [path, value] of [
    ["production/x/key", KEY],
    ["production/x/token", TOKEN],
  ]) {
    const stored = await work.sidekey(["secret", "set", path ?? "", "--host", HOST], { input: value ?? "" });
    if (stored.code !== 0) throw new Error(stored.stderr);
  }
});
afterAll(async () => {
  await upstream.close();
  work.remove();
});

/** An agent that asks for this and prints all that it got. */
const AGENT = `
const [path, headers = "{}"] = process.argv.slice(1).map((text) => text.replaceAll("$SWAP", process.env.SWAP_TOKEN));
const lines = JSON.parse(headers);
if (lines.basic) lines.authorization = "Basic " + btoa(lines.basic);
delete lines.basic;
const response = await fetch("https://${HOST}" + path, { headers: lines });
console.log(response.status, JSON.stringify([...response.headers]), await response.text());
`;

const ask = async (path: string, headers: Readonly<Record<string, string>> = {}) => {
  const before = upstream.requests.length;
  const args = ["run", "--", process.execPath, "--input-type=module", "-e", AGENT, path, JSON.stringify(headers)];
  const { code, stdout, stderr } = await work.sidekey(args);
  expect(code, stderr).toBe(0);
  for (const secret of [KEY, TOKEN]) {
    expect(leaksOf(Buffer.from(stdout + stderr), Buffer.from(secret), { fragment: 8 })).toEqual([]);
  }
  return { stdout, received: upstream.requests[before] };
};

describe("an agent under run", () => {
  it("has its parameter set, its own copies gone", async () => {
    const { received, stdout } = await ask("/query/x?a=1&API_KEY=own");
    expect(received?.path).toBe(`/query/x?a=1&api_key=${encodeURIComponent(KEY)}`);
    expect(stdout).toContain("[redacted]");
  });

  it("has the prefix before its path", async () => {
    const { received } = await ask("/path/getMe?a=1");
    expect(received?.path).toBe(`/bot${TOKEN}/path/getMe?a=1`);
  });

  it("has the cookie beside its own", async () => {
    const { received } = await ask("/cookie/x", { cookie: "a=1; session=own" });
    expect(received?.header("cookie")).toEqual([`session=${TOKEN}; a=1`]);
  });

  it("finds the placeholder in its environment, and may send it where the route has it", async () => {
    const basic = await ask("/swap/x", { basic: "me:$SWAP" });
    expect(basic.received?.header("authorization")).toEqual([`Basic ${btoa(`me:${TOKEN}`)}`]);
    const query = await ask("/swap/x?token=$SWAP");
    expect(query.received?.path).toBe(`/swap/x?token=${TOKEN}`);
    const { stdout, received } = await ask("/swap/x", { "x-other": "$SWAP" });
    expect(received).toBe(undefined);
    expect(stdout).toMatch(/^403 .*INJECT_PLACEHOLDER_MISPLACED/);
  });

  it("has both of two secrets set", async () => {
    const { received } = await ask("/several/x", { x_api_key: "own" });
    expect(received?.path).toBe(`/several/x?token=${TOKEN}`);
    expect(received?.header("x-api-key")).toEqual([KEY]);
  });

  it("leaves an audit that names the secrets, found by either, and holds none", async () => {
    const search = async (...filter: readonly string[]) => {
      const { code, stdout } = await work.sidekey(["audit", "search", "--type", "intent", "--json", ...filter]);
      expect(code).toBe(0);
      expect(stdout).not.toContain("canary");
      return stdout;
    };
    const several = "local:production/x/key,local:production/x/token";
    for (const secret of ["production/x/key", "production/x/token"]) {
      expect(await search("--route", "several", "--secret", secret)).toContain(several);
    }
    expect(await search("--route", "several", "--secret", "production/x/other")).not.toContain(several);
  });
});

describe("the command line", () => {
  it("explains each kind", async () => {
    const explain = async (path: string): Promise<string> =>
      (await work.sidekey(["explain", "GET", `https://${HOST}${path}`])).stdout;
    expect(await explain("/query/x")).toMatch(
      /^sends +query:api_key \(query\)\nremoves +the agent's own query:api_key, however/m,
    );
    expect(await explain("/path/x")).toMatch(/^sends +path \(path\)\nbecause/m);
    expect(await explain("/cookie/x")).toMatch(/^removes +the agent's own cookie:session,/m);
    expect(await explain("/swap/x")).toMatch(
      /^sends +basic, query:token \(placeholder, sidekey-placeholder-swap-[0-9a-f]{12}\)\nbecause/m,
    );
    expect(await explain("/several/x")).toMatch(
      /^sends +header:x-api-key \(header, local:production\/x\/key\), query:token \(query, local:production\/x\/token\)$/m,
    );
  });

  it("checks that no two write to one place, and says both", async () => {
    work.write(
      "bad.yaml",
      `version: 1
routes:
  api:
    match: https://${HOST}
    secret: production/x/key
    inject:
      - kind: bearer
      - { kind: header, name: authorization }
      - { kind: placeholder, in: [body] }
`,
    );
    const { code, stdout, stderr } = await work.sidekey(["check", "-c", "bad.yaml"]);
    expect(code).toBe(2);
    expect(stdout + stderr).toContain("bad.yaml:9:");
    expect(stdout + stderr).toContain("must be header:NAME, basic, query:NAME or path");
    work.write(
      "bad.yaml",
      `version: 1\nroutes: { ${HOST}: { secret: a/b, inject: [{ kind: bearer }, { kind: basic }] } }\n`,
    );
    const conflict = await work.sidekey(["check", "-c", "bad.yaml"]);
    expect(conflict.code).toBe(2);
    for (const [one, other] of [
      [0, 1],
      [1, 0],
    ]) {
      expect(conflict.stdout + conflict.stderr).toMatch(
        new RegExp(`inject\\[${one}\\].* writes to header:authorization, and so does inject\\[${other}\\]`),
      );
    }
  });
});
