/** Whatever a server answers: an error with a code, soon, and never a crash, a guess or a secret in it. */
import { inspect } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { answerOf, type RawVault, startRawVault } from "../../support/vault/raw-vault.ts";
import { failureOf, OPERATOR_KEY, quickVault, VALUE } from "./support.ts";

let raw: RawVault | undefined;
afterEach(() => raw?.close());

const PATH = "production/x/key";

/** Reads one secret from a server that answers so. */
const reading = async (answer: string | Buffer, end = true) => {
  raw = await startRawVault((socket) => {
    socket.write(answer);
    if (end) socket.end();
  });
  const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 1, timeoutMs: 2_000 });
  return failureOf(vault.getSecret(PATH));
};

const json = { "content-type": "application/json" };
const whole = { value: VALUE, version: 1, secret_type: "api_key", access_tier: "standard", metadata: {} };

describe("an answer that is none of a vault's", () => {
  it.each<[string, string]>([
    ["a page", answerOf(200, "<html>hello</html>", { "content-type": "text/html" })],
    ["a page that says it is JSON", answerOf(200, "<html>hello</html>")],
    ["JSON that does not say so", answerOf(200, whole, { "content-type": "text/plain" })],
    ["nothing at all", answerOf(200, "")],
    ["null", answerOf(200, "null")],
    ["a list", answerOf(200, [whole])],
    ["text", answerOf(200, '"hello"')],
    ["half of a document", answerOf(200, '{"value":"sk-')],
    ["a document and more", answerOf(200, `${JSON.stringify(whole)}{}`)],
    ["no value", answerOf(200, { ...whole, value: undefined })],
    ["an empty value", answerOf(200, { ...whole, value: "" })],
    ["a number for a value", answerOf(200, { ...whole, value: 7 })],
    ["a list for a value", answerOf(200, { ...whole, value: [VALUE] })],
    ["no version", answerOf(200, { ...whole, version: undefined })],
    ["version zero", answerOf(200, { ...whole, version: 0 })],
    ["a version as text", answerOf(200, { ...whole, version: "1" })],
    ["a version that is no number", answerOf(200, JSON.stringify(whole).replace('"version":1', '"version":1e999'))],
    ["a time that is none", answerOf(200, { ...whole, created_at: "yesterday" })],
    ["an encoded body", answerOf(200, JSON.stringify(whole), { ...json, "content-encoding": "gzip" })],
    ["an empty success", "HTTP/1.1 204 Said\r\n\r\n"],
    ["a redirect", answerOf(302, whole, { location: "http://127.0.0.1:1/steal" })],
    ["a redirect that keeps the method", answerOf(307, whole, { location: "http://127.0.0.1:1/steal" })],
    ["a refusal with a page", answerOf(403, "<html>no</html>", { "content-type": "text/html" })],
    ["a refusal without a code", answerOf(404, { error: "no" })],
    ["a refusal with an odd code", answerOf(404, { error: { code: "no such\nthing" } })],
  ])("is refused: %s", async (_name, answer) => {
    const error = await reading(answer);
    expect([error.code, error.name]).toEqual(["CLIENT_BAD_ANSWER", "BadAnswerError"]);
    expect(raw?.requests).toHaveLength(1);
  });

  it("is refused in bytes that are not UTF-8", async () => {
    const body = Buffer.from(JSON.stringify(whole).replace("sk-", "\xff\xfe-"), "latin1");
    const head = `HTTP/1.1 200 Said\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    expect((await reading(Buffer.concat([Buffer.from(head), body]))).code).toBe("CLIENT_BAD_ANSWER");
  });

  it("is refused without a word of what it says", async () => {
    const error = await reading(answerOf(200, { ...whole, [VALUE]: 1, metadata: VALUE, version: VALUE }));
    expect(error.message).toContain("version");
  });

  it.each<[string, string]>([
    ["before its stated end", answerOf(200, whole).slice(0, -5)],
    [
      "inside a chunk",
      "HTTP/1.1 200 Said\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{",
    ],
    ["inside its head", "HTTP/1.1 200 Said\r\ncontent-ty"],
    ["before its first byte", ""],
    ["after what is no HTTP", "SSH-2.0-OpenSSH_9.6\r\n"],
    ["with two lengths", answerOf(200, whole, { "Content-Length": "3" })],
  ])("that ends %s is no answer, and the call is made again", async (_name, answer) => {
    const error = await reading(answer);
    expect(["CLIENT_UNREACHABLE", "CLIENT_BAD_ANSWER"]).toContain(error.code);
    expect(raw?.requests.length).toBeGreaterThanOrEqual(1);
  });

  it("that is no HTTP is nowhere in the error, not even as bytes", async () => {
    const error = await reading(`HTTP/1.1 200 OK\r\nx y: ${VALUE}\r\n\r\n${VALUE}`);
    expect(error.code).toBe("CLIENT_UNREACHABLE");
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain("Buffer");
  });

  it("is not waited for beyond the time-out, neither for its head nor for its body", async () => {
    for (const begun of ["", answerOf(200, whole).slice(0, -5)]) {
      raw = await startRawVault((socket) => void socket.write(begun));
      const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 0, timeoutMs: 100 });
      const error = await failureOf(vault.getSecret(PATH));
      expect(error.code).toBe("CLIENT_UNREACHABLE");
      expect(error.detail).toContain("in time");
      await raw.close();
    }
  });

  it("is not read on once it is longer than any answer, nor begun when it says so", async () => {
    let written = 0;
    raw = await startRawVault((socket) => {
      const chunk = Buffer.alloc(1024 * 1024, "x");
      socket.write("HTTP/1.1 200 Said\r\ncontent-type: application/json\r\n\r\n");
      const more = (): void => {
        while (!socket.destroyed && written < 1024) {
          written += 1;
          if (!socket.write(chunk)) return void socket.once("drain", more);
        }
      };
      more();
    });
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY, retries: 0 });
    const error = await failureOf(vault.getSecret(PATH));
    expect(error.code).toBe("CLIENT_BAD_ANSWER");
    expect(written).toBeLessThan(1024);
    await raw.close();
    expect((await reading(answerOf(200, "", { "content-length": "1073741824" }), false)).code).toBe(
      "CLIENT_BAD_ANSWER",
    );
  });

  it("is refused when it is an upgrade", async () => {
    const error = await reading("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", false);
    expect(error.code).toBe("CLIENT_BAD_ANSWER");
  });

  it("takes no member of an object's prototype from it", async () => {
    raw = await startRawVault((socket) => {
      socket.end(
        answerOf(200, `{"value":"v","version":1,"__proto__":{"placeholder":true},"metadata":{"__proto__":{"a":1}}}`),
      );
    });
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    expect((await vault.getSecretRecord(PATH)).isPlaceholder).toBe(false);
    expect(({} as Record<string, unknown>)["a"]).toBeUndefined();
  });
});

describe("a refusal", () => {
  const refusal = (code: string, message = "In words.") => ({
    error: { code, message, request_id: "r-1", hint: "Do." },
  });

  it.each<[number, string, string, string]>([
    [400, "VALIDATION_ERROR", "ValidationError", "CLIENT_REFUSED"],
    [401, "UNAUTHORIZED", "AuthError", "CLIENT_UNAUTHORIZED"],
    [403, "SCOPE_DENIED", "ScopeError", "CLIENT_SCOPE_DENIED"],
    [403, "APPROVAL_REQUIRED", "ApprovalRequiredError", "CLIENT_APPROVAL_REQUIRED"],
    [404, "SECRET_NOT_FOUND", "SecretNotFoundError", "CLIENT_SECRET_MISSING"],
    [404, "NOT_FOUND", "NotFoundError", "CLIENT_NOT_FOUND"],
    [405, "METHOD_NOT_ALLOWED", "ValidationError", "CLIENT_REFUSED"],
    [409, "CONFLICT", "ConflictError", "CLIENT_CONFLICT"],
    [410, "SECRET_EXPIRED", "SecretExpiredError", "CLIENT_SECRET_EXPIRED"],
    [413, "PAYLOAD_TOO_LARGE", "ValidationError", "CLIENT_REFUSED"],
    [429, "RATE_LIMITED", "RateLimitError", "CLIENT_RATE_LIMITED"],
    [500, "INTERNAL", "UnavailableError", "CLIENT_UNAVAILABLE"],
    [503, "AUDIT_UNAVAILABLE", "UnavailableError", "CLIENT_UNAVAILABLE"],
  ])("%i %s is a %s, with what the vault says of it", async (status, code, name, ours) => {
    const error = await reading(answerOf(status, refusal(code), { "retry-after": "7" }));
    expect([error.name, error.code]).toEqual([name, ours]);
    expect([error.httpStatus, error.vaultCode, error.requestId]).toEqual([status, code, "r-1"]);
    expect([error.detail, error.hint]).toEqual([`${PATH}: In words.`, "Do."]);
    expect(error.retryAfter).toBe(7);
  });

  it("that quotes what was sent loses its words, and keeps its code", async () => {
    const error = await reading(answerOf(401, refusal("UNAUTHORIZED", `Unknown key ${OPERATOR_KEY}`)));
    expect(error.detail).toMatch(/^production\/x\/key: http:\/\/127\.0\.0\.1:\d+ answers with UNAUTHORIZED\.$/);
  });

  it("loses its words also when they hold the value that was to be stored", async () => {
    raw = await startRawVault((socket) => void socket.end(answerOf(400, refusal("VALIDATION_ERROR", `Bad: ${VALUE}`))));
    const vault = quickVault({ address: raw.address, operatorKey: OPERATOR_KEY });
    for (const work of [
      () => vault.setSecret(PATH, VALUE),
      () => vault.rotateSecret(PATH, VALUE),
      () => vault.importEnv({ namespace: "a/b", content: `A="${VALUE}"` }),
    ]) {
      expect((await failureOf(work())).code).toBe("CLIENT_REFUSED");
    }
  });

  it("is not told twice when the vault says what we say", async () => {
    const error = await reading(answerOf(403, refusal("SCOPE_DENIED", "The key or token does not allow this.")));
    expect(error.message).toMatch(
      /^CLIENT_SCOPE_DENIED: The key or token does not allow this\. production\/x\/key: http:\/\/127\.0\.0\.1:\d+$/,
    );
  });

  it("reaches a terminal without what could steer it, and not in full length", async () => {
    const error = await reading(answerOf(400, refusal("VALIDATION_ERROR", `\u001b[2Jone\r\ntwo ${"x".repeat(5000)}`)));
    expect(error.message).toContain("[2Jone two xxx");
    expect(error.message).not.toMatch(/[^\x20-\x7e…]/);
    expect(error.message.length).toBeLessThan(500);
  });
});
