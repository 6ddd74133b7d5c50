/**
 * Each preset through a real sidecar, against a TLS stand-in of its provider. What must arrive is written here once
 * more, from the providers' documentation, so that a slip in a preset is seen.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { placeholderOf } from "../../src/sidecar/app/config/placeholder.ts";
import { createPresetLibrary } from "../../src/sidecar/app/config/presets.ts";
import { createTestAuthority } from "../support/certificates.ts";
import { openTlsTunnel } from "../support/raw-client.ts";
import { startTestSidecar, type TestSidecar } from "../support/sidecar.ts";
import { startUpstream, type TestUpstream } from "../support/upstream.ts";

const SECRET = "canary-0c7f4be1d95a4e26";
const basic = (text: string): string => `Basic ${Buffer.from(text).toString("base64")}`;
const bearer = { authorization: `Bearer ${SECRET}` };

interface Expected {
  readonly host: string;
  /** That carry the credential. */
  readonly headers: Readonly<Record<string, string>>;
  /** Where it is not the key alone. */
  readonly secret?: string;
  /** What is asked for, with the placeholder as `PLACEHOLDER`, and what must arrive, where that is not the same. */
  readonly path?: readonly [asked: string, arrives: string];
}

const EXPECTED: Readonly<Record<string, Expected>> = {
  anthropic: { host: "api.anthropic.com", headers: { "x-api-key": SECRET } },
  atlassian: {
    host: "acme.atlassian.net",
    headers: { authorization: basic(`me@acme.example:${SECRET}`) },
    secret: `me@acme.example:${SECRET}`,
  },
  "azure-openai": { host: "acme.openai.azure.com", headers: { "api-key": SECRET } },
  "brave-search": { host: "api.search.brave.com", headers: { "x-subscription-token": SECRET } },
  cloudflare: { host: "api.cloudflare.com", headers: bearer },
  cohere: { host: "api.cohere.com", headers: bearer },
  datadog: {
    host: "api.datadoghq.eu",
    headers: { "dd-api-key": `${SECRET}-1`, "dd-application-key": `${SECRET}-2` },
    secret: JSON.stringify({ api_key: `${SECRET}-1`, app_key: `${SECRET}-2` }),
  },
  deepgram: { host: "api.deepgram.com", headers: { authorization: `Token ${SECRET}` } },
  deepseek: { host: "api.deepseek.com", headers: bearer },
  discord: { host: "discord.com", headers: { authorization: `Bot ${SECRET}` } },
  elevenlabs: { host: "api.elevenlabs.io", headers: { "xi-api-key": SECRET } },
  exa: { host: "api.exa.ai", headers: { "x-api-key": SECRET } },
  figma: { host: "api.figma.com", headers: { "x-figma-token": SECRET } },
  firecrawl: { host: "api.firecrawl.dev", headers: bearer },
  gemini: { host: "generativelanguage.googleapis.com", headers: { "x-goog-api-key": SECRET } },
  github: { host: "api.github.com", headers: bearer },
  "github-git": { host: "github.com", headers: { authorization: basic(`x-access-token:${SECRET}`) } },
  gitlab: { host: "gitlab.com", headers: { "private-token": SECRET } },
  "gitlab-git": { host: "gitlab.com", headers: { authorization: basic(`oauth2:${SECRET}`) } },
  groq: { host: "api.groq.com", headers: bearer },
  huggingface: { host: "router.huggingface.co", headers: bearer },
  linear: { host: "api.linear.app", headers: { authorization: SECRET } },
  mistral: { host: "api.mistral.ai", headers: bearer },
  notion: { host: "api.notion.com", headers: bearer },
  npm: { host: "registry.npmjs.org", headers: bearer },
  openai: { host: "api.openai.com", headers: bearer },
  openrouter: { host: "openrouter.ai", headers: bearer },
  perplexity: { host: "api.perplexity.ai", headers: bearer },
  pinecone: { host: "docs-abc1234.svc.aped-4627-b74a.pinecone.io", headers: { "api-key": SECRET } },
  pypi: { host: "upload.pypi.org", headers: { authorization: basic(`__token__:${SECRET}`) } },
  replicate: { host: "api.replicate.com", headers: bearer },
  resend: { host: "api.resend.com", headers: bearer },
  sendgrid: { host: "api.sendgrid.com", headers: bearer },
  sentry: { host: "us.sentry.io", headers: bearer },
  serpapi: {
    host: "serpapi.com",
    headers: {},
    path: ["/search?q=a&api_key=PLACEHOLDER", `/search?q=a&api_key=${SECRET}`],
  },
  serper: { host: "google.serper.dev", headers: { "x-api-key": SECRET } },
  slack: { host: "slack.com", headers: bearer },
  stripe: { host: "api.stripe.com", headers: bearer },
  tavily: { host: "api.tavily.com", headers: bearer },
  telegram: { host: "api.telegram.org", headers: {}, path: ["/botPLACEHOLDER/getMe", `/bot${SECRET}/getMe`] },
  together: { host: "api.together.xyz", headers: bearer },
  twilio: {
    host: "api.twilio.com",
    headers: { authorization: basic(`AC0123456789abcdef:${SECRET}`) },
    secret: `AC0123456789abcdef:${SECRET}`,
  },
  vercel: { host: "api.vercel.com", headers: bearer },
  xai: { host: "api.x.ai", headers: bearer },
};

/** Every header that some preset sends: an agent's own must never get through on a route that owns it. */
const CREDENTIAL_HEADERS = [...new Set(Object.values(EXPECTED).flatMap(({ headers }) => Object.keys(headers)))];

const NAMES = createPresetLibrary().names();

let upstream: TestUpstream;
let sidecar: TestSidecar;

beforeAll(async () => {
  const authority = await createTestAuthority();
  const hosts = [...new Set(Object.values(EXPECTED).map(({ host }) => host))];
  upstream = await startUpstream({ tls: await authority.issue({ names: hosts }) });
  const variable = (name: string): string => name.toUpperCase().replaceAll("-", "_");
  sidecar = await startTestSidecar({
    environment: Object.fromEntries(
      Object.entries(EXPECTED).map(([name, { secret = SECRET }]) => [variable(name), secret]),
    ),
    files: { "ca.pem": authority.certificatePem },
    file: `
version: 1
listen: { proxy: "127.0.0.1:0" }
sources: { env: { kind: env } }
routes:
${Object.keys(EXPECTED)
  .map((name) => `  ${name}: { preset: ${name}, secret: ${variable(name)} }`)
  .join("\n")}
upstream:
  ca: ./ca.pem
  connect:
${hosts.map((host) => `    "${host}:443": "${upstream.address}"`).join("\n")}
`,
  });
});

afterAll(async () => {
  await sidecar.close();
  await upstream.close();
});

describe("through a sidecar", () => {
  it("goes every preset that there is", () => {
    expect(Object.keys(EXPECTED).sort()).toEqual(NAMES);
  });

  it.each(Object.entries(EXPECTED))("%s", async (name, { host, headers, path: paths }) => {
    const preset = createPresetLibrary().get(name);
    const placeholder = placeholderOf(name, join(sidecar.directory, ".sidekey"), preset?.placeholder);
    // A path that this preset's pattern for the host covers, and no other preset's.
    const usual = preset?.match.some(({ text }) => text.includes("/api/**")) ? "/api/x" : "/x/y";
    const [asked, arrives] = paths ?? [usual, usual];
    const path = asked.replace("PLACEHOLDER", placeholder);
    const tunnel = await openTlsTunnel(sidecar.port, `${host}:443`, sidecar.ca);
    const own = Object.keys(headers).map((header) => `${header}: ${placeholder}\r\n`);
    tunnel.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${own.join("")}\r\n`);
    expect((await tunnel.receive()).status).toBe(200);
    tunnel.destroy();
    const received = upstream.requests.at(-1);
    expect(received?.servername).toBe(host);
    expect(received?.path).toBe(arrives);
    for (const header of CREDENTIAL_HEADERS) {
      expect(received?.header(header), header).toEqual(headers[header] === undefined ? [] : [headers[header]]);
    }
  });
});

/** It answers a request with two credentials with 400. So exactly one arrives, wherever the client has put its key. */
describe("gemini", () => {
  const HOST = "generativelanguage.googleapis.com";
  const PLACES = ["x-goog-api-key", "authorization"];
  const send = async (path: string, headers: readonly string[]) => {
    const placeholder = placeholderOf(
      "gemini",
      join(sidecar.directory, ".sidekey"),
      createPresetLibrary().get("gemini")?.placeholder,
    );
    const tunnel = await openTlsTunnel(sidecar.port, `${HOST}:443`, sidecar.ca);
    const lines = [`GET ${path} HTTP/1.1`, `Host: ${HOST}`, ...headers].map((line) => `${line}\r\n`);
    tunnel.send(`${lines.join("")}\r\n`.replaceAll("PLACEHOLDER", placeholder));
    const { status } = await tunnel.receive();
    tunnel.destroy();
    return status;
  };

  it.each([
    ["none", "/v1beta/models", [], "/v1beta/models", [[SECRET], []]],
    ["another key in the header", "/v1/x", ["X-Goog-Api-Key: dummy"], "/v1/x", [[SECRET], []]],
    ["?key=", "/v1/x?alt=sse&key=PLACEHOLDER", [], `/v1/x?alt=sse&key=${SECRET}`, [[], []]],
    [
      "?key= beside the header",
      "/v1/x?key=PLACEHOLDER",
      ["x-goog-api-key: PLACEHOLDER"],
      `/v1/x?key=${SECRET}`,
      [[], []],
    ],
    [
      "Bearer",
      "/v1beta/openai/x",
      ["Authorization: Bearer PLACEHOLDER"],
      "/v1beta/openai/x",
      [[], [`Bearer ${SECRET}`]],
    ],
    [
      "Bearer beside the header",
      "/v1/x",
      ["x-goog-api-key: PLACEHOLDER", "authorization: Bearer PLACEHOLDER"],
      "/v1/x",
      [[], [`Bearer ${SECRET}`]],
    ],
  ])("gets one credential from a client that sends %s", async (_, path, headers, arrives, expected) => {
    expect(await send(path, headers)).toBe(200);
    const received = upstream.requests.at(-1);
    expect(received?.path).toBe(arrives);
    expect(PLACES.map((name) => received?.header(name))).toEqual(expected);
  });

  it("gets nothing of a client that sends it in two places which are not ours", async () => {
    const before = upstream.requests.length;
    expect(await send("/v1/x?key=PLACEHOLDER", ["Authorization: Bearer PLACEHOLDER"])).toBe(403);
    expect(upstream.requests.length).toBe(before);
  });
});
