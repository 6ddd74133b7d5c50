import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import type { Log } from "../../../../src/core/log.ts";
import {
  createWebhook,
  MAX_QUEUED,
  parseWebhookSecret,
  RETRY_AFTER_MS,
  signWebhook,
  type Webhook,
  type WebhookOptions,
  webhookUrlFault,
} from "../../../../src/vault/approvals/webhook.ts";
import { afterTest, createTestClock, START } from "../support.ts";

const SECRET = Buffer.from("canary-webhook-secret-4711-0123456789");
const EVENT = { id: "a1-requested", type: "approval.requested", data: { approval_id: "a1", tier: "critical" } };

interface Received {
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** A receiver that answers as told, the last answer for ever. */
const receiver = async (
  ...answers: readonly ((response: ServerResponse) => void)[]
): Promise<{ readonly url: URL; readonly received: Received[] }> => {
  const received: Received[] = [];
  const answer: RequestListener = (request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => {
      body += text;
    });
    request.on("end", () => {
      const turn = answers[Math.min(received.length, answers.length - 1)];
      received.push({ headers: request.headers, body });
      turn?.(response);
    });
  };
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  afterTest(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { url: new URL(`http://127.0.0.1:${port}/hook?team=a`), received };
};

const status =
  (code: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse): void =>
    void response.writeHead(code, headers).end();

interface Sender {
  readonly webhook: Webhook;
  readonly lines: string[];
  /** `ms` */
  readonly waits: number[];
}

const sender = (url: URL, more: Partial<WebhookOptions> = {}): Sender => {
  const lines: string[] = [];
  const waits: number[] = [];
  const say =
    (level: string): Log["info"] =>
    (message, fields) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const log = { error: say("error"), warn: say("warn"), info: say("info"), debug: say("debug") };
  const wait = async (ms: number): Promise<void> => void waits.push(ms);
  const webhook = createWebhook({
    url,
    secret: SECRET,
    clock: createTestClock(),
    log,
    random: () => 0.5,
    wait,
    ...more,
  });
  afterTest(async () => webhook.close());
  return { webhook, lines, waits };
};

const settled = (webhook: Webhook): Promise<void> => expect.poll(() => webhook.pending()).toBe(0);

describe("a webhook", () => {
  it("is signed as Standard Webhooks has it", () => {
    const secret = parseWebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") ?? Buffer.alloc(0);
    const message = { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1614265330, body: '{"test": 2432232314}' };
    expect(signWebhook(secret, message)).toBe("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  });

  it("carries its id, the time and a signature over the body", async () => {
    const { url, received } = await receiver(status(204));
    const { webhook, lines } = sender(url);
    webhook.send(EVENT);
    await settled(webhook);
    const [{ headers, body } = { headers: {}, body: "" }] = received;
    const timestamp = START / 1000;
    expect(headers).toMatchObject({
      "content-type": "application/json",
      "webhook-id": EVENT.id,
      "webhook-timestamp": String(timestamp),
      "webhook-signature": signWebhook(SECRET, { id: EVENT.id, timestamp, body }),
    });
    expect(JSON.parse(body)).toEqual({
      type: EVENT.type,
      timestamp: new Date(START).toISOString(),
      data: EVENT.data,
    });
    expect(lines).toEqual([]);
  });

  it("is sent again with the same id, later each time, until it is taken", async () => {
    const { url, received } = await receiver(status(500), (response) => void response.destroy(), status(200));
    const { webhook, waits, lines } = sender(url);
    webhook.send(EVENT);
    await settled(webhook);
    expect(received.map(({ headers }) => headers["webhook-id"])).toEqual([EVENT.id, EVENT.id, EVENT.id]);
    expect(waits).toEqual([RETRY_AFTER_MS[0], RETRY_AFTER_MS[1]]);
    expect(lines).toHaveLength(2);
  });

  it("is given up after the last attempt, and says so without a word of the secret", async () => {
    const { url, received } = await receiver(status(503));
    const { webhook, lines } = sender(url);
    webhook.send(EVENT);
    await settled(webhook);
    expect(received).toHaveLength(RETRY_AFTER_MS.length + 1);
    expect(lines.at(-1)).toContain("given up");
    expect(lines.at(-1)).toContain("status 503");
    expect(lines.join("\n")).not.toContain("canary");
  });

  it("follows no redirect", async () => {
    const elsewhere = await receiver(status(200));
    const { url, received } = await receiver(status(307, { location: elsewhere.url.href }), status(200));
    const { webhook } = sender(url);
    webhook.send(EVENT);
    await settled(webhook);
    expect(received).toHaveLength(2);
    expect(elsewhere.received).toEqual([]);
  });

  it("is not sent again to a receiver that is gone for good", async () => {
    const { url, received } = await receiver(status(410));
    const { webhook, lines } = sender(url);
    webhook.send(EVENT);
    await settled(webhook);
    expect(received).toHaveLength(1);
    expect(lines).toHaveLength(1);
  });

  it("waits only so long for an answer", async () => {
    const { url } = await receiver(() => {}, status(200));
    const { webhook, lines } = sender(url, { timeoutMs: 200 });
    webhook.send(EVENT);
    await settled(webhook);
    expect(lines.join("\n")).toContain("no answer in time");
  });

  it("drops what is too much, holds nobody up, and ends with its owner", async () => {
    const { url } = await receiver(() => {});
    const { webhook, lines } = sender(url);
    for (let n = 0; n < MAX_QUEUED + 5; n += 1) webhook.send({ ...EVENT, id: `e${n}` });
    expect(webhook.pending()).toBe(MAX_QUEUED);
    expect(lines.filter((line) => line.includes("dropped"))).toHaveLength(5);
    await webhook.close();
    expect(webhook.pending()).toBe(0);
    webhook.send(EVENT);
    expect(webhook.pending()).toBe(0);
  });
});

describe("what a webhook may be", () => {
  it.each([
    ["https://hooks.example.com/a?b=c", undefined],
    ["http://127.0.0.1:8080/", undefined],
    ["http://127.8.9.10/", undefined],
    ["http://[::1]:9/", undefined],
    ["http://hooks.example.com/", "is cleartext http beyond this machine"],
    ["http://localhost/", "is cleartext http beyond this machine"],
    ["http://10.0.0.1/", "is cleartext http beyond this machine"],
    ["http://127.0.0.1.evil.test/", "is cleartext http beyond this machine"],
    ["https://user:pass@hooks.example.com/", "holds a user or a password"],
    ["https://hooks.example.com/#x", "holds a fragment"],
    ["ftp://hooks.example.com/", "is neither https nor http"],
    ["file:///etc/passwd", "is neither https nor http"],
    ["hooks", "is no URL"],
  ])("%s: %s", (text, fault) => {
    expect(webhookUrlFault(text)).toBe(fault);
  });

  it("takes a secret of 24 bytes or more, as whsec_ and base64 or as a text", () => {
    expect(parseWebhookSecret(`whsec_${Buffer.alloc(24, 7).toString("base64")}`)).toEqual(Buffer.alloc(24, 7));
    expect(parseWebhookSecret("x".repeat(24))).toEqual(Buffer.from("x".repeat(24)));
    for (const bad of ["", "short", `whsec_${Buffer.alloc(23).toString("base64")}`, "whsec_!!!!", "x".repeat(23)]) {
      expect(parseWebhookSecret(bad)).toBeUndefined();
    }
  });
});
