from anthropic import Anthropic

client = Anthropic()
question = [{"role": "user", "content": "Say hello."}]
answer = client.messages.create(model="any", max_tokens=100, messages=question)
print("answer", answer.content[0].text)
with client.messages.stream(model="any", max_tokens=100, messages=question) as stream:
    for text in stream.text_stream:
        print(text, flush=True)
