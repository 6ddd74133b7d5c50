import asyncio
from typing import Annotated
import autogen
from agentsecretstore import AgentVault
def make_vault_tool(vault_token: str):
    """
    Factory that returns a vault retrieval function bound to a scoped token.
    The token — not the master key — is what the agent uses.
    """
    async def get_secret(
        path: Annotated[str, "Secret path in the vault, e.g. 'production/openai/api-key'"],
    ) -> str:
        """
        Retrieve a credential from Agent Secret Store.
        Call this before any operation that requires an API key or credential.
        Returns the secret value as a plain string.
        """
        async with AgentVault() as vault:
            secret = await vault.get_secret(path, token=vault_token)
            return secret.value
    return get_secret
