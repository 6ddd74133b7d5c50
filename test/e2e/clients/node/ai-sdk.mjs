import { openai } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

const question = { model: openai.chat("any"), prompt: "Say hello." };
console.log("answer", (await generateText(question)).text);
console.log("answer", (await generateText({ ...question, model: openai("any") })).text);
for await (const text of streamText(question).textStream) console.log(text);
