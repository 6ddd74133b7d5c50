/** A stand-in for OpenAI's chat completions that plays a script: what to say next follows from the conversation so far. */
import { readBody, sendJson, type Upstream } from "./stand-in.ts";

export interface ChatMessage {
  readonly role: string;
  readonly name?: string;
  readonly content: string;
  readonly toolCalls: number;
}

export interface Turn {
  readonly messages: readonly ChatMessage[];
  /** Names of the functions that the model may call. */
  readonly tools: readonly string[];
}

export type Line =
  | { readonly say: string }
  | { readonly callTool: string; readonly with: Readonly<Record<string, string>> };

/** `heard` gets each request's body as it came, before it is answered. */
export const llm = (key: string, play: (turn: Turn) => Line, heard: (body: string) => void): Upstream => {
  let calls = 0;
  return {
    host: "api.openai.com",
    header: "authorization",
    credential: `Bearer ${key}`,
    async answer({ request, response }) {
      const text = (await readBody(request)).toString();
      heard(text);
      const line = play(readTurn(JSON.parse(text)));
      calls += 1;
      const message =
        "say" in line
          ? { role: "assistant", content: line.say }
          : {
              role: "assistant",
              content: "",
              tool_calls: [
                {
                  id: `call_${calls}`,
                  type: "function",
                  function: { name: line.callTool, arguments: JSON.stringify(line.with) },
                },
              ],
            };
      sendJson(response, {
        id: `chatcmpl-${calls}`,
        object: "chat.completion",
        created: 1,
        model: "gpt-4o",
        choices: [{ index: 0, message, finish_reason: "say" in line ? "stop" : "tool_calls" }],
        usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
      });
    },
  };
};

interface Body {
  readonly messages: readonly {
    readonly role: string;
    readonly name?: string;
    readonly content?: string | null;
    readonly tool_calls?: readonly unknown[];
  }[];
  readonly tools?: readonly { readonly function: { readonly name: string } }[];
}

const readTurn = ({ messages, tools = [] }: Body): Turn => ({
  messages: messages.map(({ role, name, content, tool_calls: toolCalls = [] }) => ({
    role,
    ...(name !== undefined && { name }),
    content: content ?? "",
    toolCalls: toolCalls.length,
  })),
  tools: tools.map((tool) => tool.function.name),
});
