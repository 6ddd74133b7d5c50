/** The APIs that clients and SDKs call: one of our own, and as much of the providers' as their SDKs need. */
import { createHash } from "node:crypto";
import { type Call, readBody, sendJson, type Upstream } from "./stand-in.ts";

export const EVENTS = ["event 1", "event 2", "event 3"] as const;
export const ANSWER = "Hello.";

export const api = (host: string, key: string): Upstream => ({
  host,
  header: "authorization",
  credential: `Bearer ${key}`,
  async answer({ request, response, url, credential, stream }) {
    if (url.pathname === "/v1/models") return sendJson(response, { models: ["one"], you_sent: credential });
    if (url.pathname === "/v1/stream") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      return stream(EVENTS.map((event) => `data: ${event}\n\n`));
    }
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of request) {
      hash.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
    }
    sendJson(response, { bytes, sha256: hash.digest("hex"), you_sent: credential });
  },
});

type Json = Readonly<Record<string, unknown>>;

const bodyOf = async ({ request }: Call): Promise<Json> => JSON.parse((await readBody(request)).toString()) as Json;

/** `name`: the event's own line, where the protocol has one. */
const sse = (data: Json | string, name?: string): string =>
  `${name === undefined ? "" : `event: ${name}\n`}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;

const streamAs = async (call: Call, first: string, texts: readonly string[], last: string): Promise<void> => {
  call.response.writeHead(200, { "content-type": "text/event-stream" });
  const [start = "", ...rest] = texts;
  // What is no text of the answer travels with one that is: the program acknowledges only those.
  const end = rest.pop() ?? "";
  await call.stream([first + start, ...rest, end + last]);
};

export const openai = (key: string): Upstream => ({
  host: "api.openai.com",
  header: "authorization",
  credential: `Bearer ${key}`,
  async answer(call) {
    const { response, url, credential } = call;
    if (call.request.method === "GET") return sendJson(response, { object: "list", data: [], you_sent: credential });
    const body = await bodyOf(call);
    if (url.pathname === "/v1/responses") return sendJson(response, openaiResponse(credential));
    const chat = { id: "chatcmpl-1", created: 1, model: "any" };
    if (body["stream"] !== true) {
      const message = { role: "assistant", content: ANSWER, refusal: null };
      const choices = [{ index: 0, message, finish_reason: "stop", logprobs: null }];
      return sendJson(response, { ...chat, object: "chat.completion", choices, usage: USAGE, you_sent: credential });
    }
    const chunk = (delta: Json, finish: string | null = null): string =>
      sse({ ...chat, object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason: finish }] });
    const texts = EVENTS.map((content) => chunk({ content }));
    await streamAs(call, chunk({ role: "assistant" }), texts, chunk({}, "stop") + sse("[DONE]"));
  },
});

const USAGE = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };

const openaiResponse = (credential: string): Json => ({
  id: "resp_1",
  object: "response",
  created_at: 1,
  status: "completed",
  model: "any",
  error: null,
  incomplete_details: null,
  instructions: null,
  metadata: {},
  output: [
    {
      type: "message",
      id: "msg_1",
      role: "assistant",
      status: "completed",
      content: [{ type: "output_text", text: ANSWER, annotations: [] }],
    },
  ],
  parallel_tool_calls: true,
  temperature: 1,
  tool_choice: "auto",
  tools: [],
  top_p: 1,
  usage: {
    input_tokens: 1,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: 1,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: 2,
  },
  you_sent: credential,
});

export const anthropic = (key: string): Upstream => ({
  host: "api.anthropic.com",
  header: "x-api-key",
  credential: key,
  async answer(call) {
    const body = await bodyOf(call);
    const message = { id: "msg_1", type: "message", role: "assistant", model: "any", stop_sequence: null };
    const usage = { input_tokens: 1, output_tokens: 1 };
    if (body["stream"] !== true) {
      const content = [{ type: "text", text: ANSWER }];
      return sendJson(call.response, {
        ...message,
        content,
        stop_reason: "end_turn",
        usage,
        you_sent: call.credential,
      });
    }
    const event = (type: string, more: Json): string => sse({ type, ...more }, type);
    const first =
      event("message_start", { message: { ...message, content: [], stop_reason: null, usage } }) +
      event("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
    const texts = EVENTS.map((text) => event("content_block_delta", { index: 0, delta: { type: "text_delta", text } }));
    const last =
      event("content_block_stop", { index: 0 }) +
      event("message_delta", { delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 1 } }) +
      event("message_stop", {});
    await streamAs(call, first, texts, last);
  },
});
