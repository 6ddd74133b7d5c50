from openai import OpenAI

client = OpenAI()
question = [{"role": "user", "content": "Say hello."}]
answer = client.chat.completions.create(model="any", messages=question)
print("answer", answer.choices[0].message.content)
print("answer", client.responses.create(model="any", input="Say hello.").output_text)
for chunk in client.chat.completions.create(model="any", messages=question, stream=True):
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, flush=True)
