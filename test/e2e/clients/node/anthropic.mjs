import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const question = { model: "any", max_tokens: 100, messages: [{ role: "user", content: "Say hello." }] };
const answer = await client.messages.create(question);
console.log("answer", answer.content[0].text);
for await (const event of await client.messages.create({ ...question, stream: true })) {
  if (event.type === "content_block_delta") console.log(event.delta.text);
}
