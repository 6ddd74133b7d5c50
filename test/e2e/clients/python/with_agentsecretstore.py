"""Every call of the Python client, against the vault that ASS_API_URL names. Prints one line for each."""

import asyncio
import os

from agentsecretstore import AgentVault, AuthError, ScopeError, SecretNotFoundError

PATH = "staging/tavily/api-key"


async def refused(kind, call):
    try:
        await call
    except kind as error:
        return error.code
    return "not refused"


async def main():
    operator = os.environ["OPERATOR_KEY"]
    async with AgentVault() as vault:
        print("health", (await vault.health())["status"])
        info = await vault.set_secret(PATH, "tvly-one", secret_type="api_key", hosts=["api.tavily.com"])
        print("set", info.path, info.version, info.secret_type)
        print("get", await vault.get_secret(PATH) == "tvly-one", isinstance(await vault.get_secret(PATH), str))
        print("rotate", (await vault.rotate_secret(PATH, "tvly-two", grace_period_seconds=60)).version)
        print("version", (await vault.get_secret(PATH, version=1)).value, (await vault.get_secret(PATH)).value)
        print("list", [(one.key, one.version) for one in await vault.list_secrets("staging/tavily")])
        print("import", (await vault.import_env("A=1\nB='two words'\n", "staging/env")).imported)
        token = await vault.request_token([f"secrets:read:{PATH}"], ttl="10m", max_uses=1)
        metadata = {"agent_name": "researcher", "reason": "find papers"}
        print("token", token.scope, (await vault.get_secret(PATH, token=token, metadata=metadata)).value)
        print("spent", await refused(AuthError, vault.get_secret(PATH, token=token)))
        second = await vault.request_token(scope=f"secrets:read:{PATH}", ttl_seconds=600)
        await vault.revoke(second)
        print("revoked", await refused(AuthError, vault.get_secret(PATH, token=second)))
        third = await vault.request_token(scope=f"secrets:read:{PATH}")
        await vault.revoke(third.value)
        print("revoked itself", await refused(AuthError, vault.get_secret(PATH, token=third)))
        await vault.delete_secret(PATH)
        print("deleted", await refused(SecretNotFoundError, vault.get_secret(PATH)))
        print("scope", await refused(ScopeError, vault.request_token(scope="secrets:read:production/*")))
    async with AgentVault(operator) as vault:
        page = await vault.audit(event="secret.read", limit=100)
        print("audit", any("find papers" in str(event) for event in page.events), page.total >= len(page.events))
    async with AgentVault("ast_agent_unknown") as vault:
        print("unknown", await refused(AuthError, vault.request_token(scope="secrets:read:staging/*")))


asyncio.run(main())
