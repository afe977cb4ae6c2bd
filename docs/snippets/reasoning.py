from agentrail import AppConfig, MemorySessionStore, Profile, create_app
from agentrail.model.anthropic import Anthropic
from agentrail.model.openai import OpenAIResponses

# region app
app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="anthropic:claude-sonnet-5-5")],
        providers=[
            Anthropic(body={"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
            OpenAIResponses(body={"reasoning": {"effort": "low", "summary": "auto"}}),
        ],
        store=MemorySessionStore(),
    )
)
# endregion

assert app.host.agents() == {"assistant": "assistant"}
