import asyncio
import autogen
from agentsecretstore import AgentVault
async def run_research_agent():
    """AutoGen agent that fetches all credentials from the vault at runtime."""
    # Step 1: Orchestrator issues a scoped token for this agent run
    async with AgentVault() as vault:
        token = await vault.request_token(
            scope="secrets:read:production/*",
            ttl_seconds=1800,
            description="AutoGen research agent session",
        )
        # Also fetch the LLM key directly for the assistant config
        openai_key = await vault.get_secret("production/openai/api-key")
    # Step 2: Configure the LLM using the vault-fetched key
    llm_config = {
        "config_list": [
            {
                "model": "gpt-4o",
                "api_key": openai_key.value, # from vault, not env var
            }
        ],
        "temperature": 0.1,
        "timeout": 120,
    }
    # Step 3: Create the vault retrieval function bound to the scoped token
    get_secret = make_vault_tool(vault_token=token.value)
    # Step 4: Register the vault tool with AutoGen
    user_proxy = autogen.UserProxyAgent(
        name="user_proxy",
        human_input_mode="NEVER",
        max_consecutive_auto_reply=10,
        is_termination_msg=lambda x: x.get("content", "").rstrip().endswith("TERMINATE"),
        code_execution_config={"use_docker": False},
    )
    assistant = autogen.AssistantAgent(
        name="research_assistant",
        llm_config=llm_config,
        system_message=(
            "You are an AI research assistant with access to a secure credential vault. "
            "When you need to call any external API, always use the get_secret tool first "
            "to retrieve the required credential. Never ask the user for API keys. "
            "Reply TERMINATE when the task is complete."
        ),
    )
    # Register the vault tool for both calling and execution
    autogen.register_function(
        get_secret,
        caller=assistant,
        executor=user_proxy,
        name="get_secret",
        description="Retrieve an API key or credential from the secure vault by path",
    )
    # Step 5: Run the agent
    await user_proxy.a_initiate_chat(
        assistant,
        message=(
            "Research the latest developments in multi-agent AI frameworks. "
            "Use the Tavily search API (key at 'production/tavily/api-key') "
            "to find recent papers and summarize the top 3 findings."
        ),
    )
asyncio.run(run_research_agent())
