import os
import sys

import httpx

base = sys.argv[1]
with httpx.Client(headers={"Authorization": "Bearer " + os.environ["API_KEY"]}) as client:
    print(client.get(base + "/v1/models").text, end="")
    print(client.post(base + "/v1/echo", content=b"x" * 1_000_000).text, end="")
    with client.stream("GET", base + "/v1/stream") as response:
        for line in response.iter_lines():
            print(line, flush=True)
