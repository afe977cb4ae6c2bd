import os

from agentrail import AppConfig, MemorySessionStore, Profile, create_app
from agentrail.model.openai import OpenAICompatible

os.environ["GATEWAY_KEY"] = "8f2c61"

# region provider
gateway = OpenAICompatible("gateway", "http://127.0.0.1:8000/v1", os.environ["GATEWAY_KEY"])

app = create_app(
    AppConfig(
        profiles=[Profile(id="assistant", model="gateway:qwen3", context_window=32_768)],
        providers=[gateway],
        store=MemorySessionStore(),
    )
)
# endregion

assert app.host.agents() == {"assistant": "assistant"}
assert "8f2c61" not in repr(gateway)
