import asyncio
import os
import sys

import aiohttp


async def main(base):
    headers = {"Authorization": "Bearer " + os.environ["API_KEY"]}
    # trust_env: without it aiohttp does not look at the proxy's variables.
    async with aiohttp.ClientSession(headers=headers, trust_env=True) as session:
        async with session.get(base + "/v1/models") as response:
            print(await response.text(), end="")
        async with session.post(base + "/v1/echo", data=b"x" * 1_000_000) as response:
            print(await response.text(), end="")
        async with session.get(base + "/v1/stream") as response:
            async for line in response.content:
                print(line.decode(), end="", flush=True)


asyncio.run(main(sys.argv[1]))
