import os
import sys
import urllib.request

base = sys.argv[1]


def call(path, data=None):
    headers = {"Authorization": "Bearer " + os.environ["API_KEY"]}
    return urllib.request.urlopen(urllib.request.Request(base + path, data=data, headers=headers))


print(call("/v1/models").read().decode(), end="")
print(call("/v1/echo", b"x" * 1_000_000).read().decode(), end="")
for line in call("/v1/stream"):
    print(line.decode(), end="", flush=True)
