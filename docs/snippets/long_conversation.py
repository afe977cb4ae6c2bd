import anyio

from agentrail import (
    AppConfig,
    ChatRequest,
    Limits,
    MemorySessionStore,
    Message,
    ModelRequest,
    Profile,
    RequestContext,
    ScriptedModel,
    create_app,
    tool,
)
from agentrail.agent import Prices
from agentrail.events import ContextCompacted

# region profile
assistant = Profile(
    id="assistant",
    model="scripted:any",
    prompt="You are a helpful assistant.",
    context_window=1000,
    limits=Limits(max_tokens=200, result_chars=400, tokens=50_000, cost=0.10),
    prices=Prices(input=0.25, output=2.00, cache_read=0.025),
)
# endregion


# region artifact
@tool
async def read_more(artifact: str, start: int, context: RequestContext) -> str:
    """Read on in a result that was too long to be shown whole.

    Args:
        artifact: what the result was called.
        start: the character to begin with.
    """
    text = await context.services.session.artifact(artifact)
    return "there is nothing of that name" if text is None else text[start : start + 300]


# endregion


def say(request: ModelRequest) -> str:
    if request.messages[0].text.startswith("Summarize"):
        return "They talked about the weather."
    return "It rains. " * 30


async def main() -> None:
    assert read_more.spec.name == "read_more"
    model = ScriptedModel.repeat(say)
    store = MemorySessionStore()
    app = create_app(AppConfig(profiles=[assistant], providers=[model], store=store))
    async with app.host as host:
        for _ in range(8):
            await host.chat(ChatRequest("How is the weather?", session_id="s"))
            await anyio.wait_all_tasks_blocked()
    log = await store.read("s", limit=10_000)
    summaries = [event for event in log if isinstance(event, ContextCompacted)]
    assert summaries
    last = model.requests[-1].messages
    assert last[0] == Message.system("You are a helpful assistant.")


anyio.run(main)
