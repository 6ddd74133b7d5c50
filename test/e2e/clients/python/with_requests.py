import os
import sys

import requests

base = sys.argv[1]
session = requests.Session()
session.headers["Authorization"] = "Bearer " + os.environ["API_KEY"]
print(session.get(base + "/v1/models").text, end="")
print(session.post(base + "/v1/echo", data=b"x" * 1_000_000).text, end="")
with session.get(base + "/v1/stream", stream=True) as response:
    for line in response.iter_lines(chunk_size=1):
        print(line.decode(), flush=True)
