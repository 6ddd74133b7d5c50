import OpenAI from "openai";

const client = new OpenAI();
const question = { model: "any", messages: [{ role: "user", content: "Say hello." }] };
const answer = await client.chat.completions.create(question);
console.log("answer", answer.choices[0].message.content);
console.log("answer", (await client.responses.create({ model: "any", input: "Say hello." })).output_text);
for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
  const text = chunk.choices[0]?.delta.content;
  if (text) console.log(text);
}
