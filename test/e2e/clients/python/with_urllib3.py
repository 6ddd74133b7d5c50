import os
import sys

import urllib3

base = sys.argv[1]
headers = {"Authorization": "Bearer " + os.environ["API_KEY"]}
# urllib3 looks at no variable for its proxy.
pool = urllib3.ProxyManager(os.environ["HTTPS_PROXY"])
print(pool.request("GET", base + "/v1/models", headers=headers).data.decode(), end="")
print(pool.request("POST", base + "/v1/echo", body=b"x" * 1_000_000, headers=headers).data.decode(), end="")
response = pool.request("GET", base + "/v1/stream", headers=headers, preload_content=False)
while line := response.readline():
    print(line.decode(), end="", flush=True)
