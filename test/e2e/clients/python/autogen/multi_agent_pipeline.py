import asyncio
import autogen
from agentsecretstore import AgentVault
async def run_multi_agent_pipeline():
    """
    Multi-agent AutoGen pipeline where each agent has its own scoped token.
    The researcher can only read search credentials.
    The writer can only read publishing credentials.
    Neither can access the other's secrets.
    """
    async with AgentVault() as vault:
        # Fetch shared LLM key
        openai_key = await vault.get_secret("production/openai/api-key")
        # Issue separate scoped tokens per agent — least privilege
        researcher_token = await vault.request_token(
            scope="secrets:read:production/search/*",
            ttl_seconds=3600,
            description="AutoGen researcher agent",
        )
        writer_token = await vault.request_token(
            scope="secrets:read:production/publishing/*",
            ttl_seconds=3600,
            description="AutoGen writer agent",
        )
        critic_token = await vault.request_token(
            scope="secrets:read:production/quality/*",
            ttl_seconds=3600,
            description="AutoGen critic agent",
        )
    llm_config = {
        "config_list": [{"model": "gpt-4o", "api_key": openai_key.value}],
    }
    # Each agent gets its own vault tool bound to its scoped token
    researcher_vault = make_vault_tool(vault_token=researcher_token.value)
    writer_vault = make_vault_tool(vault_token=writer_token.value)
    critic_vault = make_vault_tool(vault_token=critic_token.value)
    # Researcher: can only access production/search/* secrets
    researcher = autogen.AssistantAgent(
        name="researcher",
        llm_config=llm_config,
        system_message=(
            "You research topics using web search APIs. "
            "Use get_secret to retrieve 'production/search/tavily-key' before searching."
        ),
    )
    # Writer: can only access production/publishing/* secrets
    writer = autogen.AssistantAgent(
        name="writer",
        llm_config=llm_config,
        system_message=(
            "You write and publish content. "
            "Use get_secret to retrieve 'production/publishing/wordpress-key' before posting."
        ),
    )
    # Critic: can only access quality service credentials
    critic = autogen.AssistantAgent(
        name="critic",
        llm_config=llm_config,
        system_message=(
            "You review content quality. "
            "Use get_secret for 'production/quality/grammarly-key' to check writing."
        ),
    )
    user_proxy = autogen.UserProxyAgent(
        name="user_proxy",
        human_input_mode="NEVER",
        max_consecutive_auto_reply=20,
    )
    # Register scoped vault tools per agent — researcher can't use writer's tool
    autogen.register_function(
        researcher_vault, caller=researcher, executor=user_proxy,
        name="get_secret", description="Retrieve a search API credential",
    )
    autogen.register_function(
        writer_vault, caller=writer, executor=user_proxy,
        name="get_secret", description="Retrieve a publishing credential",
    )
    autogen.register_function(
        critic_vault, caller=critic, executor=user_proxy,
        name="get_secret", description="Retrieve a quality service credential",
    )
    # Run the group chat
    groupchat = autogen.GroupChat(
        agents=[user_proxy, researcher, writer, critic],
        messages=[],
        max_round=12,
    )
    manager = autogen.GroupChatManager(groupchat=groupchat, llm_config=llm_config)
    await user_proxy.a_initiate_chat(
        manager,
        message="Research and write a blog post about AutoGen multi-agent patterns.",
    )
asyncio.run(run_multi_agent_pipeline())
