import { describe, expect, it } from "vitest";
import {
  createWebhook,
  parseWebhookSecret,
  signWebhook,
  type WebhookOptions,
  type WebhookOutcome,
  webhookUrlFault,
} from "../../../../src/vault/approvals/webhook.ts";
import { createTestClock, START } from "../support.ts";
import { receiver, status } from "../webhook-receiver.ts";

const SECRET = Buffer.from("canary-webhook-secret-4711-0123456789");
const EVENT = {
  id: "a1.requested",
  type: "approval.requested",
  at: START - 60_000,
  data: { approval_id: "a1", tier: "critical" },
};

const attempt = (
  url: URL,
  more: Partial<WebhookOptions> = {},
  signal = new AbortController().signal,
): Promise<WebhookOutcome> =>
  createWebhook({ url, secret: SECRET, clock: createTestClock(), ...more }).attempt(EVENT, signal);

describe("a webhook", () => {
  it("is signed as Standard Webhooks has it", () => {
    const secret = parseWebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") ?? Buffer.alloc(0);
    const message = { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1614265330, body: '{"test": 2432232314}' };
    expect(signWebhook(secret, message)).toBe("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  });

  it("carries its id, the time and a signature over the body, which says when it happened", async () => {
    const { url, received } = await receiver(status(204));
    expect(await attempt(url)).toEqual({ kind: "taken" });
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
      timestamp: new Date(EVENT.at).toISOString(),
      data: EVENT.data,
    });
  });

  it("has failed when it is refused or cut off, without a word of the answer", async () => {
    const { url } = await receiver(status(500), (response) => void response.destroy());
    expect(await attempt(url)).toEqual({ kind: "failed", fault: "status 500" });
    expect(await attempt(url)).toEqual({ kind: "failed", fault: "ECONNRESET" });
  });

  it("follows no redirect", async () => {
    const elsewhere = await receiver(status(200));
    const { url } = await receiver(status(307, { location: elsewhere.url.href }));
    expect(await attempt(url)).toEqual({ kind: "failed", fault: "status 307" });
    expect(elsewhere.received).toEqual([]);
  });

  it("hears from a receiver that it is gone for good", async () => {
    const { url } = await receiver(status(410));
    expect(await attempt(url)).toMatchObject({ kind: "gone" });
  });

  it("waits only so long for an answer", async () => {
    const { url } = await receiver(() => {});
    expect(await attempt(url, { timeoutMs: 200 })).toEqual({ kind: "failed", fault: "no answer in time" });
  });

  it("ends with its owner", async () => {
    const { url } = await receiver(() => {});
    const owner = new AbortController();
    const outcome = attempt(url, {}, owner.signal);
    owner.abort();
    expect(await outcome).toEqual({ kind: "ended" });
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
