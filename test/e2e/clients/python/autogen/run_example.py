"""
Runs one of the examples as it stands, with what surrounds it: where they keep `make_vault_tool`, and an end at which this
process can still be looked at and asked to use the tools that the example made. One argument: the example's file.

First it prints its process id. Then one JSON object a line: {"tool": N, "path": SECRET, "url": UPSTREAM} gets the secret by the example's own tool and
sends it to the upstream as Bearer; the answer is {"status": N} or {"error": CODE}, after
`run_example: ` since the examples print too. Never prints what a tool returned.
"""

import asyncio
import json
import os
import runpy
import sys
from pathlib import Path

import httpx
from agentsecretstore import VaultError

tools = []
make_vault_tool = runpy.run_path(str(Path(__file__).parent / "vault_tool.py"))["make_vault_tool"]


def make_and_keep(vault_token):
    tools.append(make_vault_tool(vault_token))
    return tools[-1]


async def use(tool, path, url):
    try:
        secret = await tool(path)
    except VaultError as error:
        return {"error": error.code, "status": error.status}
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, headers={"Authorization": f"Bearer {secret}"}, json={})
    return {"status": answer.status_code}


def say(answer):
    print(f"run_example: {json.dumps(answer)}", flush=True)


say({"pid": os.getpid()})
runpy.run_path(sys.argv[1], init_globals={"make_vault_tool": make_and_keep})
say({"over": True, "tools": len(tools)})
for line in sys.stdin:
    wanted = json.loads(line)
    say(asyncio.run(use(tools[wanted["tool"]], wanted["path"], wanted["url"])))
