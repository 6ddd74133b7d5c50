from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="any")
print("answer", model.invoke("Say hello.").content)
for chunk in model.stream("Say hello."):
    if chunk.content:
        print(chunk.content, flush=True)
